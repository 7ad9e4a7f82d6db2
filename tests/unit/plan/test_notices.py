"""What may surprise is told, and only where it may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kmigrate.manifest import Offsets, OffsetsClass
from kmigrate.plan.classes import decide_classes
from kmigrate.plan.facts import Facts, PartitionFacts, Right, Sampling, TargetContent, TopicFacts
from kmigrate.plan.notices import Notice, NoticeKind, list_notices
from tests.unit.plan.known import COMPACTED, facts, partition, place, seen

K = NoticeKind
PLAIN = partition()
MARKED = partition("marked", gaps=5)
FILLED = partition("filled", start=5, may_delete=Right.UNKNOWN)
BEGUN = partition("begun", gaps=5, target=TargetContent.OURS, target_end=10)


def notices(known: Facts, *, wishes: Offsets | None = None, seconds: float | None = 1.0) -> list[Notice]:
    return list(list_notices(known, decide_classes(known, wishes or Offsets()), seconds))


def kinds(known: Facts, **options: object) -> set[NoticeKind]:
    return {notice.kind for notice in notices(known, **options)}  # type: ignore[arg-type]


def test_a_plain_copy_surprises_nobody() -> None:
    assert notices(facts(PLAIN, partition("empty", end=0))) == []


@pytest.mark.parametrize(
    ("some", "right", "expected"),
    [
        ([MARKED], Right.GRANTED, {K.MARKERS_CARRY_COPY_TIME}),
        ([MARKED], Right.UNKNOWN, {K.MARKERS_CARRY_COPY_TIME, K.RIGHT_UNKNOWN}),
        ([MARKED], Right.DENIED, {K.CLASS_TO_BE_SET}),
        ([PLAIN], Right.UNKNOWN, set()),
        ([FILLED], Right.GRANTED, {K.RIGHT_UNKNOWN}),
        ([partition(start=5)], Right.GRANTED, set()),
        ([BEGUN], Right.GRANTED, {K.MARKERS_CARRY_COPY_TIME}),
        ([BEGUN], Right.DENIED, {K.MARKERS_CARRY_COPY_TIME, K.RIGHT_MISSING}),
        ([partition(start=9, target=TargetContent.OURS, target_end=5)], Right.GRANTED, {K.GAP_LOST}),
        ([partition(last_stable=900)], Right.GRANTED, {K.OPEN_TRANSACTION}),
        ([partition(unseen="it has no leader now")], Right.GRANTED, {K.NOT_LOOKED_AT}),
        ([partition(census=seen(10, stands_for=1000))], Right.GRANTED, {K.ESTIMATED}),
    ],
)
def test_each_surprise_has_its_notice(some: Sequence[PartitionFacts], right: Right, expected: set[NoticeKind]) -> None:
    assert kinds(facts(PLAIN, *some, may_write_markers=right)) == expected


@pytest.mark.parametrize(
    ("topic", "seconds", "risk"),
    [
        (COMPACTED, 86_400.0, False),
        (COMPACTED, 86_401.0, True),
        (COMPACTED, None, False),
        (TopicFacts(cleanup_policy="delete", delete_retention_ms=1), 86_401.0, False),
        (TopicFacts(cleanup_policy="compact"), 86_401.0, False),
    ],
)
def test_tombstones_may_go_while_a_long_copy_runs(topic: TopicFacts, seconds: float | None, risk: bool) -> None:
    known = facts(partition("kv"), topics={"kv": topic})
    assert (K.TOMBSTONES_MAY_BE_LOST in kinds(known, seconds=seconds)) is risk
    copied = facts(partition("kv", target=TargetContent.OURS, target_end=1000), topics={"kv": topic})
    assert K.TOMBSTONES_MAY_BE_LOST not in kinds(copied, seconds=seconds)


def test_a_class_that_the_manifest_asks_for_needs_no_notice() -> None:
    assert notices(facts(PLAIN), wishes=Offsets(offsets_class=OffsetsClass.MAPPED)) == []


def test_of_many_partitions_the_first_are_named() -> None:
    some = [partition("t", number, last_stable=1) for number in range(4)]
    (notice,) = notices(facts(*some))
    assert "4 partitions (t-0, t-1, t-2, …)" in notice.text
    assert notice.partitions == 4


def test_how_much_was_looked_at_is_told() -> None:
    sampling = Sampling(places=1, partitions_skipped=7, places_left_out=3)
    sampled, unsampled = partition("a", census=seen(10, stands_for=1000)), partition("b", census=None, end=1000)
    skipped = PartitionFacts(partition=place("c"), target=unsampled.target, last_stable=unsampled.last_stable)
    (notice,) = notices(facts(PLAIN, sampled, skipped, sampling=sampling))
    assert notice.text == (
        "markers of 2 partitions are estimated from samples: 10 of 2,000 offsets were looked at, in up to 1 place each;"
        " 7 partitions not at all, to keep it short; 3 places left out, to keep it short"
    )


def test_failed_samples_are_told_with_the_reason() -> None:
    failed = facts(PLAIN, sampling=Sampling(failures={place(): "OFFSET_OUT_OF_RANGE"}))
    (notice,) = notices(failed)
    assert notice.text == "no samples could be taken of 1 partition (t-0): OFFSET_OUT_OF_RANGE"


def test_where_only_the_state_folder_knows_whether_the_start_counts_that_is_told() -> None:
    known = replace(facts(partition("a"), partition("b")), start="latest", start_open=frozenset({place("b")}))
    (notice,) = notices(known)
    assert notice.kind is NoticeKind.START_OPEN
    assert "1 partition (b-0) begin at latest, as shown" in notice.text
