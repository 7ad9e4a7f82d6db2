"""The document adds up, names what is not known, and keeps its form."""

from __future__ import annotations

import json

import pytest

from kmigrate.manifest import Offsets, OffsetsClass
from kmigrate.plan.document import Action, PlanDocument, make_plan
from kmigrate.plan.facts import PartitionFacts, TargetContent
from kmigrate.plan.notices import NoticeKind
from kmigrate.preflight.findings import Finding
from kmigrate.preflight.registry import FindingId, Level
from kmigrate.records.census import Census
from tests.unit.plan.known import COMPACTED, facts, manifest, partition, seen


def plan(*some: PartitionFacts, offsets: Offsets | None = None, findings: tuple[Finding, ...] = ()) -> PlanDocument:
    return make_plan(manifest(offsets), facts(*some, topics={"kv": COMPACTED}), findings)


@pytest.mark.parametrize(
    ("known", "action"),
    [
        (partition(), Action.CREATE),
        (partition(end=0), Action.CREATE),
        (partition(target=TargetContent.EMPTY), Action.COPY),
        (partition(start=5, end=5, target=TargetContent.EMPTY), Action.COPY),
        (partition(end=0, target=TargetContent.EMPTY), Action.NOTHING),
        (partition(target=TargetContent.OURS, target_end=999), Action.COPY),
        (partition(target=TargetContent.OURS, target_end=1000), Action.NOTHING),
        (partition(target=TargetContent.FOREIGN, target_end=5), Action.UNKNOWN),
        (partition(target=TargetContent.EMPTY, unseen="no leader"), Action.UNKNOWN),
    ],
)
def test_what_would_be_done_first(known: PartitionFacts, action: Action) -> None:
    document = plan(known)
    assert document.partitions[0].action is action
    assert document.changes is (action in (Action.CREATE, Action.COPY))


def test_amounts_add_up_and_time_is_shared_by_all_brokers() -> None:
    document = plan(
        partition("a", start=4_000_000, end=4_000_100, size_bytes=50_000_000),
        partition("a", 1, end=100_000, gaps=50_000, size_bytes=50_000_000),
    )
    assert (document.totals.filler, document.totals.markers) == (4_000_000, 50_000)
    assert (document.totals.backlog, document.totals.size_bytes) == (100_100, 100_000_000)
    assert document.totals.seconds == pytest.approx(1.0 + 1.0 + 1.0)
    assert [each.class_seconds for each in document.partitions] == [2.0, 2.0]


def test_what_is_not_known_makes_sums_unknown_and_never_zero() -> None:
    document = plan(partition("a"), partition("b", census=Census()), partition("c", unseen="no leader"))
    assert (document.totals.markers, document.totals.size_bytes, document.totals.seconds) == (None, None, None)
    first, unsampled, unseen = document.topics
    assert first.sums.seconds is not None
    assert unsampled.sums.markers is None
    assert (unseen.offset_class, unseen.sums.backlog, unseen.reasons) == (None, 0, ("no leader",))
    row = document.partitions[2]
    assert (row.backlog, row.gaps, row.source_start, row.size_bytes, row.markers) == (None,) * 5


def test_partitions_of_a_topic_are_folded_by_class() -> None:
    document = plan(
        partition("a"),
        partition("a", 1, start=7, gaps=900, end=1007),
        partition("a", 2, start=3),
        partition("b", census=seen(1000, transactional_batches=2, append_time_batches=1)),
        offsets=Offsets(gap_budget=899),
    )
    identical, mapped, other = document.topics
    assert (identical.topic, identical.sums.partitions, identical.offset_class) == ("a", 2, OffsetsClass.IDENTICAL)
    assert identical.reasons == ("no filler needed, no gaps", "filler up to the log start, no gaps")
    assert (mapped.offset_class, mapped.sums.partitions) == (OffsetsClass.MAPPED, 1)
    assert document.partitions[1].gaps == 900
    assert other.found == ("v2", "transactions", "LogAppendTime")
    assert document.classes == {"identical": 3, "mapped": 1}


def test_blockers_are_told_once_for_each_topic_and_cause() -> None:
    offsets = Offsets(offsets_class=OffsetsClass.IDENTICAL, pad_budget=5, gap_budget=5)
    some = [partition("a", number, start=10 + number) for number in range(3)]
    document = plan(*some, partition("a", 3, gaps=9), partition("fine"), offsets=offsets)
    assert [(each.what, each.hint) for each in document.blockers] == [
        (
            "topic a cannot be identical in 3 partitions; a-0: it needs 10 filler records, padBudget allows 5",
            "raise offsets.padBudget",
        ),
        (
            "topic a cannot be identical in 1 partition; a-3: it needs about 9 markers, gapBudget allows 5",
            "raise offsets.gapBudget",
        ),
    ]
    assert sum(each.blocked for each in document.topics) == 4


def test_what_the_checks_found_comes_first() -> None:
    findings = (
        Finding(id=FindingId.DISK_TOO_SMALL, level=Level.BLOCK, what="no room", hint="make some"),
        Finding(id=FindingId.QUOTA, level=Level.WARN, what="a draught"),
        Finding(id=FindingId.RIGHTS, level=Level.PASS, what="a roof"),
    )
    document = plan(partition("t", last_stable=3), findings=findings)
    assert [(each.what, each.hint) for each in document.blockers] == [("no room", "make some")]
    assert [each.kind for each in document.notices] == [NoticeKind.CHECK, NoticeKind.OPEN_TRANSACTION]
    assert document.notices[0].text == "a draught"


def test_the_json_is_a_contract() -> None:
    """Keys may be added here, never changed or taken away."""
    told = json.loads(plan(partition("kv", gaps=4)).to_json())
    assert told == plan(partition("kv", gaps=4)).to_value()
    assert list(told) == [
        *("apiVersion", "kind", "name", "sourceClusterId", "targetClusterId", "start", "assumptions", "totals"),
        *("classes", "topics", "partitions", "blockers", "notices", "leftOut", "actions", "waves"),
    ]
    assert (told["apiVersion"], told["kind"], told["name"]) == ("kmigrate/v1", "Plan", "m")
    assert told["start"] == "earliest"
    assert told["leftOut"] == [{"topic": "__consumer_offsets", "reason": "an internal topic"}]
    (row,) = told["partitions"]
    found = row.pop("found")
    assert row == {
        "topic": "kv",
        "partition": 0,
        "action": "create",
        "offsetClass": "identical",
        "reason": "no filler needed, gaps are filled",
        "blocked": "",
        "filler": 0,
        "markers": 4,
        "classSeconds": pytest.approx(0.00016),
        "backlog": 1000,
        "gaps": 4,
        "gapsExact": True,
        "sizeBytes": 100_000,
        "sourceStart": 0,
        "sourceEnd": 1000,
        "sourceHighWatermark": 1000,
        "sourceLastStable": 1000,
        "start": 0,
        "target": "absent",
        "targetEnd": None,
    }
    assert found == {
        "sampledPlaces": 1,
        "sampledOffsets": 1000,
        "sampledBatches": 1,
        "formats": ["v2"],
        "codecs": ["none"],
        "transactionalBatches": 0,
        "abortedBatches": 0,
        "controlBatches": 0,
        "appendTimeBatches": 0,
        "holedBatches": 0,
        "largestBatchBytes": 0,
        "compacted": True,
    }
    assert told["topics"][0]["sums"].keys() == told["totals"].keys()
    assert {each["kind"] for each in told["notices"]} == {"MARKERS_CARRY_COPY_TIME"}


def test_a_plan_of_nothing_is_empty() -> None:
    document = plan()
    assert (document.partitions, document.topics, document.classes, document.changes) == ((), (), {}, False)
    assert document.totals.seconds == 0
