"""Topics of Kafka, of vendors and of an application's inside move by a rule that tells its reason."""

from __future__ import annotations

import pytest

from kmigrate.topics.internal import (
    ALWAYS_INTERNAL,
    CONNECT,
    KMIGRATE,
    MIRROR,
    SCHEMAS,
    STREAMS,
    Care,
    RunningGroup,
    objection,
    reason_to_leave_out,
    rule_of,
)


@pytest.mark.parametrize(
    ("name", "what", "care"),
    [
        ("__consumer_offsets", ALWAYS_INTERNAL, Care.NEVER),
        ("__transaction_state", ALWAYS_INTERNAL, Care.NEVER),
        ("__kmigrate.orders", KMIGRATE, Care.NEVER),
        ("__somebody_elses", ALWAYS_INTERNAL, Care.NEVER),
        ("__amazon_msk_canary", "Amazon MSK's own", Care.NEVER),
        ("_confluent-metrics", "Confluent's own", Care.NEVER),
        ("__KafkaCruiseControlPartitionMetricSamples", "made by what operates the cluster", Care.NEVER),
        ("mm2-offset-syncs.west.internal", MIRROR, Care.NEVER),
        ("mm2-configs.west.internal", MIRROR, Care.NEVER),
        ("east.checkpoints.internal", MIRROR, Care.NEVER),
        ("heartbeats", MIRROR, Care.NEVER),
        ("east.heartbeats", MIRROR, Care.NEVER),
        ("billing-KSTREAM-AGGREGATE-STATE-STORE-0000000003-changelog", STREAMS, Care.ONLY_STOPPED),
        ("billing-KSTREAM-MAP-0000000001-repartition", STREAMS, Care.ONLY_STOPPED),
        ("connect-configs", CONNECT, Care.ONLY_STOPPED),
        ("connect-cluster-offsets", CONNECT, Care.ONLY_STOPPED),
        ("team.connect.status", CONNECT, Care.ONLY_STOPPED),
        ("_schemas", SCHEMAS, Care.ONLY_STOPPED),
    ],
)
def test_a_name_tells_whose_topic_it_is(name: str, what: str, care: Care) -> None:
    rule = rule_of(name)
    assert rule is not None
    assert (rule.what, rule.care) == (what, care)


@pytest.mark.parametrize(
    "name", ["orders", "changelog", "reconnect-offsets-by-hand", "orders.heartbeats-old", "schemas"]
)
def test_other_names_are_as_any_other(name: str) -> None:
    assert rule_of(name) is None


def test_what_kafka_says_is_internal_is_so_whatever_its_name() -> None:
    rule = rule_of("changelog", is_internal=True)
    assert rule is not None
    assert reason_to_leave_out(rule, named=True) == ALWAYS_INTERNAL


@pytest.mark.parametrize(
    ("name", "moves_if_named"),
    [
        ("__consumer_offsets", False),
        ("__amazon_msk_canary", False),
        ("heartbeats", True),  # it may be somebody's own
        ("_confluent-metrics", True),
        ("billing-store-changelog", True),
        ("_schemas", True),
    ],
)
def test_it_moves_at_most_if_the_manifest_names_it_outright(name: str, moves_if_named: bool) -> None:
    rule = rule_of(name)
    assert rule is not None
    assert reason_to_leave_out(rule, named=False)
    assert (reason_to_leave_out(rule, named=True) is None) is moves_if_named


IDLE = RunningGroup("orders-reader", "consumer")


@pytest.mark.parametrize(
    ("name", "running", "identical", "against"),
    [
        ("billing-store-changelog", [IDLE], True, None),
        ("billing-store-changelog", [IDLE], False, "same offsets"),
        ("billing-store-changelog", None, True, "does not tell"),
        ("billing-store-changelog", [IDLE, RunningGroup("billing", "consumer")], True, "billing is running"),
        ("billing-store-changelog", [RunningGroup("bill", "consumer")], True, None),
        ("connect-offsets", [IDLE, RunningGroup("any-name", "connect")], True, "any-name is running"),
        ("connect-offsets", [IDLE], True, None),
        ("_schemas", [RunningGroup("schema-registry", "sr")], True, "schema-registry is running"),
        ("_schemas", [IDLE], True, None),
        ("heartbeats", None, False, None),
    ],
)
def test_state_of_an_application_is_copied_only_identical_and_with_the_application_stopped(
    name: str, running: list[RunningGroup] | None, identical: bool, against: str | None
) -> None:
    rule = rule_of(name)
    assert rule is not None
    found = objection(name, rule, running, identical=identical)
    assert (found is None) if against is None else (found is not None and against in found)
