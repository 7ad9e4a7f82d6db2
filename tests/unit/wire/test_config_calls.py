"""Settings: who has them of its own comes out of the answer, what is set or taken away goes into the request."""

from __future__ import annotations

import pytest
from kafka.protocol.admin.configs import (
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

from kmigrate.kafka_types import BrokerId, TopicName
from kmigrate.wire.calls import TopicOutcome
from kmigrate.wire.config_calls import (
    Alteration,
    Setting,
    alter_topic_configs,
    broker_setting_names,
    describe_broker_configs,
    describe_topic_configs,
)

A, B = TopicName("a"), TopicName("b")
TOPIC, BROKER = 2, 4


@pytest.mark.parametrize("version", [1, 2])
def test_only_what_a_topic_was_given_is_its_own(version: int) -> None:
    result_class = DescribeConfigsResponse.DescribeConfigsResult
    sources = {"own": 1, "of.the.broker": 2, "of.all.brokers": 3, "of.a.file": 4, "of.kafka": 5}
    configs = [
        result_class.DescribeConfigsResourceResult(
            name=name, value="v", read_only=False, config_source=source, is_sensitive=False, synonyms=[]
        )
        for name, source in [*sources.items(), ("secret", 1)]
    ]
    configs[-1].value = None
    answer = DescribeConfigsResponse(
        version=version,
        results=[
            result_class(error_code=0, error_message=None, resource_type=TOPIC, resource_name="a", configs=configs),
            result_class(error_code=29, error_message="no", resource_type=TOPIC, resource_name="b", configs=[]),
        ],
    )
    answer.with_header(correlation_id=5)
    call = describe_topic_configs([A, B], [*sources])
    assert call.decode(version, answer.encode(header=True)) == {
        "a": (0, {name: Setting("v", name == "own") for name in sources}),
        "b": (29, {}),
    }


def test_topics_and_brokers_are_asked_for_what_matters() -> None:
    asked = []
    for call in (describe_topic_configs([A, B], ["x"]), describe_broker_configs(BrokerId(3), ["y", "z"])):
        request = DescribeConfigsRequest.decode(call.encode(2, 5, "us")[4:], version=2, header=True)
        asked += [(each.resource_type, each.resource_name, each.configuration_keys) for each in request.resources]
    assert asked == [(TOPIC, "a", ["x"]), (TOPIC, "b", ["x"]), (BROKER, "3", ["y", "z"])]


@pytest.mark.parametrize("version", [0, 1])
def test_a_setting_is_set_or_taken_away(version: int) -> None:
    call = alter_topic_configs({A: [Alteration("x", "1"), Alteration("y", None)], B: [Alteration("x", "")]})
    request = IncrementalAlterConfigsRequest.decode(call.encode(version, 5, "us")[4:], version=version, header=True)
    asked = {
        (each.resource_type, each.resource_name): [(c.name, c.config_operation, c.value) for c in each.configs]
        for each in request.resources
    }
    assert asked == {(TOPIC, "a"): [("x", 0, "1"), ("y", 1, None)], (TOPIC, "b"): [("x", 0, "")]}
    assert not request.validate_only

    response_class = IncrementalAlterConfigsResponse.AlterConfigsResourceResponse
    answer = IncrementalAlterConfigsResponse(
        version=version,
        responses=[
            response_class(error_code=code, error_message=message, resource_type=TOPIC, resource_name=name)
            for name, code, message in (("a", 0, None), ("b", 40, "bad"))
        ],
    )
    answer.with_header(correlation_id=5)
    assert call.decode(version, answer.encode(header=True)) == {A: TopicOutcome(0, ""), B: TopicOutcome(40, "bad")}


def test_the_names_of_a_brokers_settings_come_with_secret_ones_and_without_values() -> None:
    result_class = DescribeConfigsResponse.DescribeConfigsResult
    configs = [
        result_class.DescribeConfigsResourceResult(
            name=name, value=value, read_only=True, config_source=4, is_sensitive=value is None, synonyms=[]
        )
        for name, value in (("log.dirs", "/x"), ("super.users", None))
    ]
    call = broker_setting_names(BrokerId(3))
    for error, expected in ((0, {"log.dirs", "super.users"}), (31, None)):
        result = result_class(
            error_code=error, error_message=None, resource_type=BROKER, resource_name="3", configs=configs
        )
        answer = DescribeConfigsResponse(version=2, results=[result])
        answer.with_header(correlation_id=5)
        assert call.decode(2, answer.encode(header=True)) == expected
