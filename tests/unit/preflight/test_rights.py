"""A missing right is named with the line that grants it; one that is not told is unknown, never granted."""

from __future__ import annotations

from kmigrate.kafka_types import Side
from kmigrate.preflight.registry import FindingId, Level
from kmigrate.preflight.rights import NEEDS, Asked, Need, Resource, Stage, acl_command, judge_rights, satisfied
from kmigrate.wire.acl_calls import AclOperation


def need(side: Side, resource: Resource, operation: AclOperation) -> Need:
    (found,) = [each for each in NEEDS if (each.side, each.resource, each.operation) == (side, resource, operation)]
    return found


WRITE = need(Side.TARGET, Resource.TOPIC, AclOperation.WRITE)
MARKERS = need(Side.TARGET, Resource.CLUSTER, AclOperation.ALTER)
FENCE = need(Side.SOURCE, Resource.CLUSTER, AclOperation.ALTER)


def judge(*asked: Asked) -> list[tuple[FindingId, Level, str]]:
    found = judge_rights(Side.TARGET, asked, bootstrap="t:9092", principal=None)
    return [(each.id, each.level, each.hint) for each in found]


def test_a_required_right_blocks_and_an_optional_one_warns() -> None:
    ((found_id, level, hint),) = judge(Asked(need=WRITE, granted=["a"], missing=["b", "c"]))
    assert (found_id, level) == (FindingId.RIGHT_REQUIRED, Level.BLOCK)
    assert hint == (
        "kafka-acls.sh --bootstrap-server t:9092 --add --allow-principal 'User:<principal>' --operation Write"
        " --topic 'b' --topic 'c'"
    )
    ((found_id, level, hint),) = judge(Asked(need=MARKERS, missing=["kafka-cluster"]))
    assert (found_id, level) == (FindingId.RIGHT_OPTIONAL, Level.WARN)
    assert hint.endswith("--operation Alter --cluster")


def test_a_right_that_no_copy_needs_is_a_note() -> None:
    ((_, level, _),) = judge(Asked(need=FENCE, missing=["kafka-cluster"]))
    assert level is Level.NOTE


def test_what_is_not_told_is_unknown_with_its_reason() -> None:
    (finding,) = judge_rights(
        Side.TARGET, [Asked(need=WRITE, untold={"a": "no answer"})], bootstrap="t:9092", principal="User:me"
    )
    assert (finding.id, finding.level) == (FindingId.RIGHT_UNKNOWN, Level.UNKNOWN)
    assert finding.what.endswith("for 1 topic (a): no answer")


def test_all_granted_is_one_finding() -> None:
    assert [each[0] for each in judge(Asked(need=WRITE, granted=["a"]))] == [FindingId.RIGHTS]


def test_markers_need_cluster_action_before_3_8() -> None:
    assert satisfied(MARKERS, {AclOperation.ALTER}, since_3_8=True)
    assert not satisfied(MARKERS, {AclOperation.ALTER}, since_3_8=False)
    assert satisfied(MARKERS, {AclOperation.CLUSTER_ACTION}, since_3_8=False)
    assert not satisfied(FENCE, {AclOperation.CLUSTER_ACTION})


def test_names_are_quoted_for_a_shell() -> None:
    command = acl_command(WRITE, ["it's"], bootstrap="t:9092", principal="User:CN=me, O=us")
    assert "--topic 'it'\"'\"'s'" in command
    assert "--allow-principal 'User:CN=me, O=us'" in command


def test_what_is_required_has_no_way_without_it_and_no_two_needs_are_the_same() -> None:
    assert len({(each.side, each.resource, each.operation) for each in NEEDS}) == len(NEEDS)
    assert all(each.stage is Stage.COPY for each in NEEDS if each.is_required)
