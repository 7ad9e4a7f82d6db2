"""Rights are read from what a broker names; what it does not tell is unknown, and unknown is not denied."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.kafka_types import Offset, TopicName
from kmigrate.plan.facts import (
    Right,
    TargetContent,
    TopicFacts,
    right_to_delete_records,
    right_to_write_markers,
    tombstones_kept_ms,
)
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.survey_calls import Operations
from tests.unit.plan.known import partition

A = AclOperation
EVERYTHING = frozenset(AclOperation)


@pytest.mark.parametrize(
    ("told", "right"),
    [
        (EVERYTHING, Right.GRANTED),
        (frozenset({A.CLUSTER_ACTION}), Right.GRANTED),
        (frozenset({A.ALTER, A.DESCRIBE}), Right.GRANTED),
        (frozenset({A.DESCRIBE, A.CREATE, A.ALTER_CONFIGS}), Right.DENIED),
        (frozenset(), Right.UNKNOWN),  # may not describe the cluster: that says nothing of CLUSTER_ACTION
        (None, Right.UNKNOWN),
    ],
)
def test_the_right_to_write_markers(told: Operations, right: Right) -> None:
    assert right_to_write_markers(told) is right


@pytest.mark.parametrize(
    ("told", "right"),
    [
        (EVERYTHING, Right.GRANTED),
        (frozenset({A.DELETE}), Right.GRANTED),
        (frozenset({A.WRITE, A.DESCRIBE}), Right.DENIED),
        (None, Right.UNKNOWN),
    ],
)
def test_the_right_to_delete_records(told: Operations, right: Right) -> None:
    assert right_to_delete_records(told) is right


@pytest.mark.parametrize(
    ("content", "target_end", "filler", "backlog"),
    [
        (TargetContent.ABSENT, 0, 100, 900),
        (TargetContent.EMPTY, 0, 100, 900),
        (TargetContent.FILLER, 60, 40, 900),
        (TargetContent.OURS, 400, 0, 600),
        (TargetContent.OURS, 50, 0, 900),  # the source trimmed past it: nothing is filled behind data
        (TargetContent.OURS, 1000, 0, 0),
        (TargetContent.FOREIGN, 7, 0, 900),
    ],
)
def test_what_the_target_holds_decides_what_is_left(
    content: TargetContent, target_end: int, filler: int, backlog: int
) -> None:
    known = partition(start=100, end=1000, target=content, target_end=target_end)
    assert (known.filler, known.backlog) == (filler, backlog)


def test_only_decided_offsets_are_a_backlog() -> None:
    assert partition(end=1000, last_stable=300).backlog == 300


def test_a_policy_that_compacts_and_deletes_compacts() -> None:
    assert TopicFacts(cleanup_policy="compact,delete").compacted
    assert not TopicFacts(cleanup_policy="delete").compacted
    assert not TopicFacts().compacted


def test_a_wanted_start_counts_as_a_log_start_that_was_moved_there() -> None:
    wanted = replace(partition(start=7), wanted_start=Offset(40))
    assert (wanted.head, wanted.begin, wanted.backlog, wanted.filler) == (40, 40, 960, 40)
    below = replace(partition(start=50), wanted_start=Offset(40))
    assert (below.head, below.begin, below.filler) == (50, 50, 50)
    begun = replace(partition(target=TargetContent.OURS, target_end=60), wanted_start=Offset(40))
    assert (begun.begin, begun.filler) == (60, 0)
    filling = replace(partition(target=TargetContent.FILLER, target_end=8), wanted_start=Offset(40))
    assert filling.filler == 32


def test_only_compacted_topics_that_tell_keep_tombstones_for_a_known_time() -> None:
    told = {
        "compacted": {"cleanup.policy": "compact", "delete.retention.ms": "5"},
        "both": {"cleanup.policy": "compact,delete", "delete.retention.ms": "7"},
        "deleted": {"cleanup.policy": "delete", "delete.retention.ms": "5"},
        "half told": {"cleanup.policy": "compact"},
        "silent": {},
    }
    topics = {TopicName(name): TopicFacts.of(settings) for name, settings in told.items()}
    assert tombstones_kept_ms(topics) == {"compacted": 5, "both": 7}
