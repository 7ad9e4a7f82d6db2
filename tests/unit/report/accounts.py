"""A migration of everything that a report tells of, and a huge one that is all the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.groups.values import OutcomeKind
from kmigrate.kafka_types import Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.report.account import ReportDocument
from kmigrate.report.accounting import make_account
from kmigrate.runner.groups_document import GroupPartition, GroupsDocument, GroupSide, GroupStatus, LeftOutGroup
from kmigrate.runner.ledger import Ledger, Reset
from kmigrate.runner.status import (
    AcceptedStatus,
    Flow,
    LeftOut,
    MigrationState,
    PartitionStatus,
    StatusDocument,
    StopStatus,
    TopicStatus,
)
from kmigrate.security.fence import Event, Fence, FenceKind, FencePhase, Instant
from kmigrate.state.journal import ChainState, EffectEntry, JournalEntry
from kmigrate.topics.intended import Intended, Origin

AT = 1_760_000_000_000
"""2025-10-09 08:53:20 UTC."""
NASTY = "<script>alert('|`*_x_')</script>\x1b[31m\u202enext\n# line [a](b)"
"""What somebody may put into a name or a message, to be taken for markup or to move a cursor."""


def verified(topic: str, partition: int, verdict: str = "equal", **change: Any) -> Any:
    """What `verify` kept."""
    found = {
        "mode": "records",
        "reason": "",
        "start": 0,
        "end": 40,
        "verified_at": AT + 5,
        "records": 40,
        "digest": None,
        "difference": None,
    }
    return SimpleNamespace(topic=topic, partition=partition, verdict=verdict, **(found | change))


def place(topic: str, partition: int) -> TopicPartition:
    return TopicPartition(TopicName(topic), Partition(partition))


def stop(topic: str, partition: int, evidence: str) -> StopStatus:
    return StopStatus.of(Stop(kind=StopKind.FOREIGN_WRITE, offset=Offset(7), evidence=evidence), topic, partition)


STATUS = StatusDocument(
    name="orders",
    state=MigrationState.STOPPED,
    reason="2 partitions wait",
    updated_at=AT + 9,
    topics=tuple(
        TopicStatus(topic=topic, partitions=4, flow=Flow(markers_written=12), states={}) for topic in ("orders", "pay")
    ),
    partitions=(
        *(
            PartitionStatus(
                topic="orders",
                partition=number,
                state=PartitionState.IN_SYNC,
                position=40 + number,
                source_start=0,
                source_end=40 + number,
                target_end=40 + number,
                lag_records=0,
            )
            for number in range(4)
        ),
        PartitionStatus(topic="pay", partition=0, state=PartitionState.STOPPED, stop=stop("pay", 0, NASTY)),
        PartitionStatus(
            topic="pay", partition=1, state=PartitionState.IGNORED, stop=stop("pay", 1, "seen"), waived=True
        ),
        PartitionStatus(
            topic="pay",
            partition=2,
            state=PartitionState.IN_SYNC,
            position=9,
            accepted=AcceptedStatus(kind=StopKind.GAP_LOST, offset=3, evidence="3 to 5", at=AT + 6),
        ),
        PartitionStatus(topic="pay", partition=3, state=PartitionState.WAITING),
    ),
    left_out=(LeftOut(topic="__consumer_offsets", reason="internal"),),
)
GROUPS = GroupsDocument(
    name="orders",
    updated_at=AT + 8,
    groups=(
        GroupStatus(
            group=f"billing {NASTY}",
            group_type="classic",
            source=GroupSide(state="Stable", lag_records=3),
            target=GroupSide(state="Empty", lag_records=3),
            outcome=OutcomeKind.SYNCED,
            partitions=(
                GroupPartition(
                    topic="orders",
                    partition=1,
                    outcome=OutcomeKind.SYNCED,
                    source_offset=38,
                    target_offset=38,
                    source_lag=3,
                    target_lag=3,
                ),
            ),
        ),
        GroupStatus(
            group="audit",
            group_type="classic",
            source=GroupSide(state="Empty"),
            target=GroupSide(state="Stable"),
            outcome=OutcomeKind.MOVED,
            reason="a member joined",
            moved_at=AT + 7,
        ),
    ),
    left_out=(LeftOutGroup(group="console-consumer-1", reason="excluded by the manifest"),),
)
HASHES = [f"{number:064x}" for number in range(20)]
JOURNAL = tuple(
    JournalEntry(number=number, at_ms=AT + number, kind=kind, detail=detail, hash=HASHES[number])
    for number, (kind, detail) in enumerate(
        (
            (
                "run",
                {"source": "S", "target": "T", "version": "0.1", "kafka": {"source": "3.9", "target": "4.1 or newer"}},
            ),
            ("effects-planned", {"kind": "create-topic", "effects": [1, 4], "sha256": "x"}),
            *(
                ("effect-done", {"effect": number, "kind": "create-topic", "name": f"t{number}"})
                for number in (1, 2, 3)
            ),
            ("answer", {"topic": "pay", "partitions": [1], "choice": "ignore", "stops": [[1, "FOREIGN_WRITE", 7]]}),
            ("throttle", {"of": [NASTY]}),
        ),
        start=1,
    )
)
EFFECTS = (
    *(
        EffectEntry(
            id=number,
            kind="create-topic",
            topic=TopicName(f"t{number}"),
            payload={"partitions": 3},
            planned_at_ms=AT + 2,
            done_at_ms=AT + 2 + number if number < 4 else None,
        )
        for number in range(1, 5)
    ),
    EffectEntry(
        id=5,
        kind="restore-hold",
        topic=TopicName("old"),
        payload={"origin": "target", "settings": {"retention.ms": "5"}},
        planned_at_ms=AT + 2,
        done_at_ms=AT + 3,
    ),
)
FENCE = Fence(
    number=2,
    side=Side.SOURCE,
    kind=FenceKind.ACL,
    topics=(TopicName("pay"),),
    principals=("User:app",),
    cluster_id="S",
    bootstrap="s:9092",
    period_seconds=60,
    phase=FencePhase.LIFTED,
    begun=Instant("b", 1, AT + 1),
    confirmed=Instant("b", 1, AT + 1),
    stood=True,
    ended=Instant("b", 9, AT + 3),
    left=("a rule of User:x",),
    events=(Event(AT + 2, "stands: every broker shows it"), Event(AT + 3, "lifted")),
)
LEDGER = Ledger(
    name="orders",
    read_at_ms=AT + 10,
    cluster_ids={Side.SOURCE: "S", Side.TARGET: "T"},
    begun_ms=AT,
    start="earliest",
    term=3,
    journal=JOURNAL,
    effects=EFFECTS,
    chain=ChainState(count=7, number=7, hash=HASHES[7]),
    intended={
        TopicName("orders"): Intended(origin=Origin.SOURCE, settings={"cleanup.policy": "compact"}),
        TopicName("pay"): Intended(origin=Origin.LOST, settings=None),
    },
    beginnings={place("orders", number): Beginning(TopicId("a" * 32), Offset(0), 0) for number in range(4)},
    classes={
        **{place("orders", number): OffsetClass.IDENTICAL for number in range(4)},
        place("pay", 2): OffsetClass.MAPPED,
    },
    map_runs={place("pay", 2): 17},
    fences=(FENCE,),
    resets=(Reset(1, "audit", AT + 4, AT + 5, {"before": {"orders": {"1": 3}}}),),
)
VERIFIED = (
    *(verified("orders", number) for number in range(4)),
    verified("orders", 0, mode="ends"),
    verified(
        "pay", 2, "different", difference=SimpleNamespace(source_offset=31, target_offset=None, words=f"gone {NASTY}")
    ),
    verified("pay", 3, "unknown", reason="no leader", start=None, end=None),
)


def whole_account(**change: Any) -> ReportDocument:
    """The account of all that."""
    given: dict[str, Any] = {"status": STATUS, "groups": GROUPS, "verified": VERIFIED, "ledger": LEDGER}
    return make_account(**(given | change))


def huge_account(topics: int, partitions: int) -> ReportDocument:
    """So many topics and partitions, in sync and verified, each created by an effect."""
    every = [place(f"topic-{topic:05}", number) for topic in range(topics) for number in range(partitions)]
    names = [f"topic-{topic:05}" for topic in range(topics)]
    return make_account(
        status=StatusDocument(
            name="huge",
            state=MigrationState.IN_SYNC,
            updated_at=AT,
            topics=tuple(TopicStatus(topic=each, partitions=partitions, flow=Flow(), states={}) for each in names),
            partitions=tuple(
                PartitionStatus(
                    topic=tp.topic,
                    partition=tp.partition,
                    state=PartitionState.IN_SYNC,
                    position=number,
                    source_start=0,
                    source_end=number,
                    target_end=number,
                    offset_class=OffsetClass.IDENTICAL,
                )
                for number, tp in enumerate(every)
            ),
        ),
        groups=None,
        verified=[verified(tp.topic, tp.partition) for tp in every],
        ledger=Ledger(
            name="huge",
            read_at_ms=AT,
            beginnings={tp: Beginning(TopicId("a" * 32), Offset(0), 0) for tp in every},
            intended={TopicName(each): Intended(origin=Origin.SOURCE, settings={}) for each in names},
            effects=tuple(
                EffectEntry(
                    id=number,
                    kind="create-topic",
                    topic=TopicName(each),
                    payload={"partitions": partitions},
                    planned_at_ms=AT,
                    done_at_ms=AT,
                )
                for number, each in enumerate(names, start=1)
            ),
            journal=tuple(
                JournalEntry(
                    number=number,
                    at_ms=AT,
                    kind="effect-done",
                    detail={"effect": number, "kind": "create-topic", "name": each},
                    hash=HASHES[1],
                )
                for number, each in enumerate(names, start=1)
            ),
        ),
    )
