"""Makes the account of a migration from what is kept of it.  (pure)

Rule: nothing is left out and nothing is guessed. What one source does not tell is null, and `unknown` says why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from kmigrate.kafka_types import Partition, Side, TopicName, TopicPartition
from kmigrate.report.account import (
    ChainAccount,
    ClusterAccount,
    DifferenceAccount,
    EffectAccount,
    EntryAccount,
    FenceAccount,
    FenceEvent,
    PartitionAccount,
    ReportDocument,
    ReportTotals,
    ResetAccount,
    SettingsAccount,
    TopicAccount,
    VerificationAccount,
)
from kmigrate.report.unknown import list_unknown
from kmigrate.runner.groups_document import GroupsDocument
from kmigrate.runner.ledger import Ledger
from kmigrate.runner.status import PartitionStatus, StatusDocument
from kmigrate.security.fence import Fence
from kmigrate.state.journal import EFFECT_WITHDRAWN, ChainState
from kmigrate.topics.intended import Origin

RESTORE_HOLD = "restore-hold"
"""The effect that ends a topic's hold."""


class Verified(Protocol):
    """What a verification found of a partition, as `runner/verification.py` keeps it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def start(self) -> int | None: ...
    @property
    def end(self) -> int | None: ...
    @property
    def verified_at(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def digest(self) -> str | None: ...
    @property
    def difference(self) -> Differs | None: ...


class Differs(Protocol):
    """Where both sides differ first."""

    @property
    def source_offset(self) -> int: ...
    @property
    def target_offset(self) -> int | None: ...
    @property
    def words(self) -> str: ...


def make_account(
    *,
    status: StatusDocument | None,
    groups: GroupsDocument | None,
    verified: Iterable[Verified],
    ledger: Ledger,
    cutovers: Sequence[Mapping[str, Any]] = (),
    unavailable: Sequence[Mapping[str, Any]] = (),
) -> ReportDocument:
    """The account of a migration, from its last status, its groups, what was verified, and what else is kept.

    `cutovers` and `unavailable` (times in which applications could not write) are told as they are, each with its keys.
    """
    topics = tuple(_topics(status, list(verified), ledger))
    releases = ledger.releases
    withdrawn = {each.detail.get("effect") for each in ledger.journal if each.kind == EFFECT_WITHDRAWN}
    return ReportDocument(
        name=ledger.name,
        made_at=ledger.read_at_ms,
        state=None if status is None else status.state,
        reason="" if status is None else status.reason,
        begun_at=ledger.begun_ms,
        start=ledger.start,
        term=ledger.term,
        updated_at=None if status is None else status.updated_at,
        clusters=tuple(
            ClusterAccount(side=side, cluster_id=ledger.cluster_ids.get(side), release=releases.get(side))
            for side in Side
        ),
        totals=_count(topics, groups),
        topics=topics,
        left_out=() if status is None else status.left_out,
        groups=() if groups is None else groups.groups,
        groups_updated_at=None if groups is None else groups.updated_at,
        left_out_groups=() if groups is None else groups.left_out,
        group_resets=tuple(
            ResetAccount(
                number=each.number,
                group=each.group,
                at=each.at_ms,
                undone_at=each.undone_ms,
                detail=each.payload,
            )
            for each in ledger.resets
        ),
        fences=tuple(map(_fence, ledger.fences)),
        cutovers=tuple(cutovers),
        unavailable=tuple(unavailable),
        effects=tuple(
            EffectAccount(
                number=each.id,
                kind=each.kind,
                name=each.topic,
                planned_at=_time(each.planned_at_ms),
                done_at=None if each.id in withdrawn else each.done_at_ms,
                withdrawn=each.id in withdrawn,
                payload=each.payload,
            )
            for each in ledger.effects
        ),
        journal=tuple(
            EntryAccount(number=each.number, at=_time(each.at_ms), kind=each.kind, detail=each.detail, hash=each.hash)
            for each in ledger.journal
        ),
        not_known=tuple(list_unknown(status, groups, ledger, topics)),
        chain=_chain(ledger.chain),
    )


def _topics(status: StatusDocument | None, verified: Sequence[Verified], ledger: Ledger) -> Iterator[TopicAccount]:
    told: dict[TopicPartition, PartitionStatus] = {}
    flows: dict[str, int] = {}
    if status is not None:
        told = {_place(each.topic, each.partition): each for each in status.partitions}
        flows = {each.topic: each.flow.markers_written for each in status.topics}
    found: dict[TopicPartition, list[Verified]] = defaultdict(list)
    for each in verified:
        found[_place(each.topic, each.partition)].append(each)
    partitions: dict[str, list[PartitionAccount]] = defaultdict(list)
    for tp in sorted({*told, *found, *ledger.beginnings, *ledger.classes}):
        partitions[tp.topic].append(_partition(tp, told.get(tp), found.get(tp, ()), ledger))
    restored = {each.topic: each for each in ledger.effects if each.kind == RESTORE_HOLD and each.is_done}
    for topic in sorted({*partitions, *flows, *ledger.intended, *restored}):
        name, settings = TopicName(topic), SettingsAccount()
        if name in ledger.intended:
            to_be = ledger.intended[name]
            settings = SettingsAccount(held=True, origin=to_be.origin, intended=to_be.settings)
        elif name in restored:
            effect = restored[name]
            settings = SettingsAccount(
                origin=_origin(effect.payload.get("origin")),
                intended=effect.payload.get("settings"),
                restored_at=effect.done_at_ms,
            )
        yield TopicAccount(
            topic=topic,
            settings=settings,
            markers_written=flows.get(topic),
            partitions=tuple(partitions.get(topic, ())),
        )


def _partition(
    tp: TopicPartition, told: PartitionStatus | None, verified: Iterable[Verified], ledger: Ledger
) -> PartitionAccount:
    beginning = ledger.beginnings.get(tp)
    offset_class = ledger.classes.get(tp) or (None if told is None else told.offset_class)
    position = None if told is None else told.position
    return PartitionAccount(
        partition=tp.partition,
        state=None if told is None else told.state,
        offset_class=offset_class,
        begins_at=None if beginning is None else beginning.start,
        source_start=None if told is None else told.source_start,
        source_end=None if told is None else told.source_end,
        position=position,
        target_end=None if told is None else told.target_end,
        lag_records=None if told is None else told.lag_records,
        filler=None if beginning is None else beginning.filler,
        map_runs=ledger.map_runs.get(tp, 0) if offset_class is not None and offset_class.needs_map else None,
        reason="" if told is None else told.reason,
        stop=None if told is None else told.stop,
        waived=told is not None and told.waived,
        accepted=None if told is None else told.accepted,
        verifications=tuple(_verification(each, position) for each in verified),
    )


def _verification(found: Verified, position: int | None) -> VerificationAccount:
    difference = found.difference
    return VerificationAccount(
        mode=str(found.mode),
        verdict=str(found.verdict),
        at=found.verified_at,
        start=found.start,
        end=found.end,
        unverified=None if position is None or found.end is None else max(0, position - found.end),
        records=found.records,
        reason=found.reason,
        digest=found.digest,
        difference=None
        if difference is None
        else DifferenceAccount(
            source_offset=difference.source_offset, target_offset=difference.target_offset, words=difference.words
        ),
    )


def _fence(fence: Fence) -> FenceAccount:
    return FenceAccount(
        number=fence.number,
        side=fence.side,
        kind=fence.kind,
        phase=fence.phase,
        topics=fence.topics,
        principals=fence.principals,
        since=fence.begun.wall_ms,
        stood=fence.stood,
        lifted_at=None if fence.ended is None else fence.ended.wall_ms,
        left=fence.left,
        events=tuple(FenceEvent(at=each.at_ms, what=each.what) for each in fence.events),
    )


def _chain(chain: ChainState) -> ChainAccount:
    if chain.broken_at is not None:
        sentence = f"The chain is broken from entry {chain.broken_at} on: {chain.reason}."
    elif chain.count:
        sentence = (
            f"The chain holds: all {chain.count:,} entries, and the effects they tell of, are as they were written."
        )
    else:
        sentence = "The chain holds: nothing was journaled yet."
    return ChainAccount(
        holds=chain.holds,
        entries=chain.count,
        head_number=chain.number,
        head_hash=chain.hash,
        broken_at=chain.broken_at,
        reason=chain.reason,
        sentence=sentence,
    )


def _count(topics: Sequence[TopicAccount], groups: GroupsDocument | None) -> ReportTotals:
    partitions = [each for topic in topics for each in topic.partitions]
    states: dict[str, int] = {}
    for each in partitions:
        if each.state is not None:
            states[each.state.value] = states.get(each.state.value, 0) + 1
    return ReportTotals(
        topics=len(topics),
        partitions=len(partitions),
        states=states,
        stopped=sum(each.stop is not None and not each.waived for each in partitions),
        waived=sum(each.waived for each in partitions),
        verified=sum(
            any((v.mode, v.verdict) == ("records", "equal") for v in each.verifications) for each in partitions
        ),
        different=sum(any(v.verdict == "different" for v in each.verifications) for each in partitions),
        groups=0 if groups is None else len(groups.groups),
    )


def _time(at_ms: int) -> int | None:
    return None if at_ms < 0 else at_ms


def _origin(text: object) -> Origin | None:
    return next((each for each in Origin if each.value == text), None)


def _place(topic: str, partition: int) -> TopicPartition:
    return TopicPartition(TopicName(topic), Partition(partition))
