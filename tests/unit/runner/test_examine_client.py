"""What an application may do with its topics and its group is told as the cluster tells it."""

from __future__ import annotations

from collections.abc import Mapping

from kmigrate.kafka_types import TopicName
from kmigrate.preflight.registry import FindingId, Level
from kmigrate.runner.examine_client import judge_client_group, judge_client_topics
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.survey_calls import Operations

A, B, C = (TopicName(name) for name in "abc")
RIGHTS: Mapping[TopicName, Operations] = {
    A: frozenset({AclOperation.READ, AclOperation.WRITE}),
    B: frozenset({AclOperation.READ}),
    C: frozenset({AclOperation.DESCRIBE}),
}


def test_topics_are_told_together_by_what_may_be_done_with_them() -> None:
    findings = judge_client_topics({**RIGHTS, TopicName("a2"): RIGHTS[A]}, ())
    assert [each.what for each in findings] == [
        "2 topics (a, a2): may consume and produce",
        "1 topic (b): may consume, not produce",
        "1 topic (c): may neither consume nor produce",
    ]
    assert {each.level for each in findings} == {Level.NOTE}, "nobody asked for them"


def test_a_topic_that_is_used_and_cannot_be_blocks() -> None:
    hidden = TopicName("hidden")
    findings = judge_client_topics({C: RIGHTS[C]}, [C, hidden])
    assert [(each.id, each.level) for each in findings] == [
        (FindingId.CLIENT_TOPIC_HIDDEN, Level.BLOCK),
        (FindingId.CLIENT_TOPICS, Level.BLOCK),
    ]


def test_what_the_cluster_does_not_tell_is_said() -> None:
    (finding,) = judge_client_topics({A: None}, [A])
    assert (finding.level, "does not tell" in finding.what) == (Level.NOTE, True)


def test_a_group_that_may_not_be_joined_blocks_with_the_line_that_grants_it() -> None:
    assert judge_client_group("app", "t:9092", None, may_join=True).level is Level.PASS
    refused = judge_client_group("app", "t:9092", "User:app", may_join=False)
    assert (refused.level, refused.hint.endswith("--operation Read --group 'app'")) == (Level.BLOCK, True)
