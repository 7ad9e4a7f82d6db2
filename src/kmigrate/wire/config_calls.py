"""Calls that read the settings of topics and brokers, and alter those of topics.

Sources: DescribeConfigsRequest.json, IncrementalAlterConfigsRequest.json; org.apache.kafka.clients.admin.ConfigEntry
for the config sources, AlterConfigOp for the operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kafka.protocol.admin.configs import (
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

from kmigrate.kafka_types import BrokerId, TopicName
from kmigrate.wire.call import Call
from kmigrate.wire.calls import TopicOutcome

_TOPIC_RESOURCE = 2
_BROKER_RESOURCE = 4
_TOPIC_CONFIG_SOURCE = 1
_SET = 0
_DELETE = 1


class Setting(NamedTuple):
    """A setting that is in force; `is_override`: the topic has it of its own, not from its broker's defaults."""

    value: str
    is_override: bool


class Alteration(NamedTuple):
    """One setting of a topic made anew; None takes the topic's own value away, so that the broker's default counts."""

    key: str
    value: str | None

    def __str__(self) -> str:
        return f"{self.key} to the default" if self.value is None else f"{self.key}={self.value}"


Described = Mapping[str, tuple[int, Mapping[str, Setting]]]
"""Resource → (error code, key → setting). Keys that the broker does not know are left out."""


def describe_topic_configs(names: Sequence[TopicName], keys: Sequence[str]) -> Call[Described]:
    """The settings of topics."""
    return _describe_configs(_TOPIC_RESOURCE, names, keys)


def describe_broker_configs(broker: BrokerId, keys: Sequence[str]) -> Call[Described]:
    """The settings of one broker; goes to that broker."""
    return _describe_configs(_BROKER_RESOURCE, [str(broker)], keys)


def _describe_configs(kind: int, names: Sequence[str], keys: Sequence[str]) -> Call[Described]:
    def build(_version: int) -> Any:
        return DescribeConfigsRequest(
            resources=[
                DescribeConfigsRequest.DescribeConfigsResource(
                    resource_type=kind, resource_name=name, configuration_keys=list(keys)
                )
                for name in names
            ],
            include_synonyms=False,
        )

    return Call(
        what="DescribeConfigs",
        request=DescribeConfigsRequest,
        response=DescribeConfigsResponse,
        oldest=1,
        newest=2,
        build=build,
        parse=lambda answer: {
            resource.resource_name: (
                resource.error_code,
                {
                    config.name: Setting(config.value, config.config_source == _TOPIC_CONFIG_SOURCE)
                    for config in resource.configs
                    if config.value is not None
                },
            )
            for resource in answer.results
        },
    )


def alter_topic_configs(
    alterations: Mapping[TopicName, Sequence[Alteration]],
) -> Call[Mapping[TopicName, TopicOutcome]]:
    """Alters settings of topics, of each topic all or none; others stay as they are. Goes to the controller.

    Needs ALTER_CONFIGS on the topic; one bad setting refuses its topic with INVALID_CONFIG.
    """

    def build(_version: int) -> Any:
        resource_class = IncrementalAlterConfigsRequest.AlterConfigsResource
        return IncrementalAlterConfigsRequest(
            resources=[
                resource_class(
                    resource_type=_TOPIC_RESOURCE,
                    resource_name=name,
                    configs=[
                        resource_class.AlterableConfig(
                            name=key, config_operation=_DELETE if value is None else _SET, value=value
                        )
                        for key, value in wanted
                    ],
                )
                for name, wanted in alterations.items()
            ],
            validate_only=False,
        )

    return Call(
        what="IncrementalAlterConfigs",
        request=IncrementalAlterConfigsRequest,
        response=IncrementalAlterConfigsResponse,
        oldest=0,
        newest=1,
        build=build,
        parse=lambda answer: {
            TopicName(resource.resource_name): TopicOutcome(resource.error_code, resource.error_message or "")
            for resource in answer.responses
        },
    )
