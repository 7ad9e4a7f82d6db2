"""The observer gathers the facts of waves from both clusters, the copy, verifications, groups and fences.

Rule: facts are observations: of each partition the target is looked at first, then the copy, then the source, so that
what the copy has not appended cannot look like an application's record. Reads only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState, StopKind
from kmigrate.errors import ClusterError, KmigrateError
from kmigrate.kafka_types import BrokerId, Offset, ProducerId, Side, TopicName, TopicPartition
from kmigrate.offsets.offset_map import Ends
from kmigrate.preflight.bounds import Bounds, Unseen, by_leader, read_bounds
from kmigrate.query.sides import ClusterSide
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.cutover.groups_seen import GroupLooker, GroupSeen, LagHistory, facts_of, read_by_all
from kmigrate.runner.cutover.history import History, Rates
from kmigrate.runner.cutover.unread import Unread, records_of
from kmigrate.runner.fencing import Fencer
from kmigrate.runner.late.appending import LateSeen
from kmigrate.runner.verification import PartitionVerification, Verdict
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import EffectKind
from kmigrate.schemes.facts import GroupFacts, PartitionFacts, Straggler, WaveFacts
from kmigrate.schemes.steps import Gate
from kmigrate.security.fence import Fence
from kmigrate.state.fence_book import FenceBook
from kmigrate.wire import calls
from kmigrate.wire.calls import ClusterMetadata
from kmigrate.wire.error_codes import ErrorCode

log = logging.getLogger(__name__)

STILL_SECONDS = 1.0
"""A log that moved since then is not looked at for what is left in it."""
MOST_STRAGGLERS = 100
"""How many partitions at most are looked up by producer."""
_CLOSELY = {Side.SOURCE: frozenset({Gate.DRAINED, Gate.NO_LATE_RECORDS}), Side.TARGET: frozenset({Gate.LAG_FALLING})}
Seen = Mapping[TopicPartition, Bounds | Unseen]


class Copy(Protocol):
    """What the copy knows; for any thread."""

    @property
    def latest(self) -> dict[TopicPartition, PartitionProgress]: ...

    def ends_of(self, topic: TopicName) -> Mapping[TopicPartition, Ends] | None: ...


class Back(NamedTuple):
    """Of a partition that is copied back: target offsets below which everything is on the source again, and was
    compared there (None: not known), why its copy back has stopped, and from which offset of the source on records lie
    there that are not its own."""

    copied: Offset | None
    verified: Offset | None = None
    stop: str = ""
    foreign_from: Offset | None = None


class Beside(NamedTuple):
    """Of a partition: its copy back, its late records, and up to where every group has read it on the source."""

    back: Back | None
    late: LateSeen | None
    read: Offset


NOTHING_COPIED = Ends(Offset(0), Offset(0))
NO_BACK: Mapping[TopicPartition, Back] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where facts come from, beside the clusters. `verifications` are those of every record."""

    copy: Copy
    verifications: Callable[[], Iterable[PartitionVerification]]
    fences: FenceBook
    held: Callable[[], Iterable[str]]
    is_lease_held: Callable[[], bool]
    back: Callable[[], Mapping[TopicPartition, Back]] = dict
    late: Callable[[], Mapping[TopicPartition, LateSeen]] = dict


class Observer:
    """Looks at waves; used by one thread."""

    def __init__(
        self,
        clients: Mapping[Side, Callable[[], ClusterClient]],
        sources: Sources,
        book: CutoverBook,
        *,
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        self._clients = {side: open_client() for side, open_client in clients.items()}
        self._groups = {side: GroupLooker(open_client()) for side, open_client in clients.items()}
        self._readers = {
            side: ClusterSide(side, open_client(), calls.READ_COMMITTED) for side, open_client in clients.items()
        }
        self._unread = {side: Unread(records_of(reader)) for side, reader in self._readers.items()}
        self._sources = sources
        self._book = book
        self._now = wall_seconds
        self._histories = {side: History() for side in Side}
        self._rates: dict[str, Rates] = {}
        self._lags = {side: LagHistory() for side in Side}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        for groups in self._groups.values():
            groups.close()
        for reader in self._readers.values():
            reader.close()

    def look(self, cutovers: Collection[Cutover]) -> dict[str, WaveFacts]:
        """The facts of these waves, as of now; what a cluster does not tell is not known."""
        topics = sorted({topic for each in cutovers for topic in each.wave.topics})
        groups = sorted({group for each in cutovers for group in each.wave.groups})
        began = self._now()
        _, target = self._look_at(Side.TARGET, topics)
        latest = self._sources.copy.latest.copy()
        back, late = self._sources.back(), self._sources.late()
        on_source, source = self._look_at(Side.SOURCE, topics, back)
        seen = {side: looker.look(groups) if groups else {} for side, looker in self._groups.items()}
        for side, ends_there in ((Side.SOURCE, source), (Side.TARGET, target)):
            seen[side] |= self._with_read(side, seen[side], _looked_at_closely(side, cutovers), ends_there, began)
        fenced = {side: self._fenced(side) for side in Side}
        held = {TopicName(name) for name in self._sources.held()}
        verified = {
            TopicPartition(TopicName(each.topic), each.partition): each  # type: ignore[arg-type]
            for each in self._sources.verifications()
        }
        prepared = self._book.prepared()
        copied = {tp: _copied(latest.get(tp)) for tp in {*source, *target}}
        growing = self._histories[Side.SOURCE].growing(began)
        found: dict[str, WaveFacts] = {}
        for cutover in cutovers:
            wave = cutover.wave
            mine = set(wave.topics)
            read = read_by_all({group: seen[Side.SOURCE].get(group, GroupSeen()) for group in wave.groups})
            places = sorted(tp for tp in {*source, *target} if tp.topic in mine)
            partitions = {
                tp: self._partition(
                    tp,
                    cutover,
                    source.get(tp),
                    target.get(tp),
                    latest.get(tp),
                    verified.get(tp),
                    Beside(back.get(tp), late.get(tp), read(tp)),
                )
                for tp in places
            }
            ends = {
                Side.SOURCE: {tp: each for tp, each in source.items() if tp.topic in mine},
                Side.TARGET: {tp: each for tp, each in target.items() if tp.topic in mine},
            }
            found[wave.name] = WaveFacts(
                at_seconds=began,
                partitions=partitions,
                groups={
                    group: self._group(group, wave.topics, seen, ends, copied, prepared, began) for group in wave.groups
                },
                stragglers=None
                if growing is None
                else self._stragglers(on_source, [tp for tp in places if tp in growing]),
                holds=frozenset(held & mine),
                fenced_on_source=fenced[Side.SOURCE],
                fenced_on_target=fenced[Side.TARGET],
                is_lease_held=self._sources.is_lease_held(),
                do_rates_agree=self._agree(wave.name, ends, began),
            )
        return found

    def _look_at(
        self, side: Side, topics: list[TopicName], back: Mapping[TopicPartition, Back] = NO_BACK
    ) -> tuple[ClusterMetadata | None, Seen]:
        client, now = self._clients[side], self._now()
        try:
            metadata = client.metadata(topics)
        except ClusterError as error:
            log.info("log ends of the %s: %s", side, error)
            return None, {}
        places = [
            TopicPartition(name, number)
            for name in topics
            if (topic := metadata.topics.get(name)) is not None and not topic.error
            for number in topic.partitions
        ]
        seen = read_bounds(client, metadata, places)
        ends: dict[TopicPartition, Offset] = {}
        for tp, each in seen.items():
            if isinstance(each, Bounds) and each.end >= 0:
                end = each.end if side is Side.TARGET else _application_end(each.end, self._ended(tp), back.get(tp))
                if end is not None:
                    ends[tp] = end
        self._histories[side].look(ends, now)
        return metadata, seen

    # -- partitions

    def _ended(self, tp: TopicPartition) -> Ends | None:
        """Where its copy ended; a partition that came later was not copied at all."""
        ends = self._sources.copy.ends_of(tp.topic)
        return None if ends is None else ends.get(tp, NOTHING_COPIED)

    def _partition(
        self,
        tp: TopicPartition,
        cutover: Cutover,
        on_source: Bounds | Unseen | None,
        on_target: Bounds | Unseen | None,
        progress: PartitionProgress | None,
        verification: PartitionVerification | None,
        beside: Beside,
    ) -> PartitionFacts:
        back, late = beside.back, beside.late
        source = on_source if isinstance(on_source, Bounds) else None
        target = on_target if isinstance(on_target, Bounds) else None
        ended = self._ended(tp)
        source_end = None if source is None else _application_end(source.end, ended, back)
        copied = ended.source if ended is not None else _copied(progress)
        stop = None
        if progress is not None:
            stop = "" if progress.stop is None else progress.stop.kind.value
        if back is not None and back.stop:
            stop = back.stop
        late_records = None
        if late is not None and tp in cutover.forgone:
            copied, late_records = source_end, 0  # what is not appended was listed
        elif late is not None and _is_open(cutover, tp, late):
            copied, late_records = late.position, 0  # each is appended as it comes
        elif source_end is not None and ended is not None:
            settled = settled_late(cutover).get(tp, Offset(0))
            late_records = max(0, source_end - max(ended.source, settled, beside.read))
        elif ended is None and copied is not None:
            late_records = 0  # the copy is still under way: nothing can be late
        return PartitionFacts(
            source_end=source_end,
            target_end=None if target is None else target.end,
            source_still_since=self._histories[Side.SOURCE].still_since(tp) if source is not None else None,
            target_still_since=self._histories[Side.TARGET].still_since(tp) if target is not None else None,
            is_settled=_is_settled(source),
            is_target_settled=_is_settled(target),
            is_in_sync=None if progress is None else progress.state is PartitionState.IN_SYNC,
            copied=copied,
            verified=_verified(verification),
            stop=stop,
            late_stop="" if late is None else late.stop,
            application_records=_application_records(source, target, progress, ended, late),
            late_records=late_records,
            late_appended=0 if late is None else late.landed,
            copied_back=None if back is None else back.copied,
            verified_back=None if back is None else back.verified,
        )

    def _agree(self, wave: str, ends: Mapping[Side, Seen], now: float) -> bool | None:
        rates = self._rates.setdefault(wave, Rates())
        sums: dict[Side, int] = {}
        for side, seen in ends.items():
            known = [each.end for each in seen.values() if isinstance(each, Bounds)]
            if len(known) < len(seen) or not known:
                return None
            sums[side] = sum(known)
        rates.look(sums, now)
        return rates.agree()

    def _stragglers(
        self, metadata: ClusterMetadata | None, growing: list[TopicPartition]
    ) -> tuple[Straggler, ...] | None:
        """Partitions that grow on the source, with the producers that Kafka names."""
        if metadata is None:
            return None
        producers = self._producers(metadata, growing[:MOST_STRAGGLERS])
        return tuple(Straggler(partition=tp, producer_ids=producers.get(tp, ())) for tp in growing)

    def _producers(
        self, metadata: ClusterMetadata, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, tuple[ProducerId, ...]]:
        found: dict[TopicPartition, tuple[ProducerId, ...]] = {}
        led, _ = by_leader(metadata, partitions)
        for leader, some in led.items():
            try:
                answers = self._clients[Side.SOURCE].broker(BrokerId(leader), calls.describe_producers(some))
            except ClusterError as error:
                log.info("producers on the source: %s", error)
                continue
            newest_ms = (self._now() - 60.0) * 1000
            for tp, answer in answers.items():
                if answer.error == ErrorCode.NONE:
                    found[tp] = tuple(each.producer_id for each in answer.states if each.last_timestamp_ms >= newest_ms)
        return found

    # -- groups and fences

    def _with_read(
        self, side: Side, groups: Mapping[str, GroupSeen], wanted: Collection[str], ends: Seen, now: float
    ) -> dict[str, GroupSeen]:
        """Some groups with what they have read, where logs stand still."""
        unread, history = self._unread[side], self._histories[side]
        still = {tp for tp in ends if (since := history.still_since(tp)) is not None and now - since >= STILL_SECONDS}
        unread.begin()
        return {
            name: seen._replace(read=unread.read_up_to(seen.commits, ends, still))
            for name in wanted
            if (seen := groups.get(name)) is not None and seen.commits is not None
        }

    def _group(
        self,
        group: str,
        topics: Collection[TopicName],
        seen: Mapping[Side, Mapping[str, GroupSeen]],
        ends: Mapping[Side, Seen],
        copied: Mapping[TopicPartition, Offset | None],
        prepared: Mapping[str, Mapping[TopicPartition, Offset]],
        now: float,
    ) -> GroupFacts:
        return facts_of(
            group,
            topics,
            {side: seen[side].get(group, GroupSeen()) for side in Side},
            ends,
            copied=copied,
            prepared=prepared.get(group),
            history=self._lags[Side.TARGET],
            now=now,
        )

    def _fenced(self, side: Side) -> frozenset[TopicName] | None:
        """Topics that a fence is around, as every broker shows it now."""
        standing = [each for each in self._sources.fences.standing() if each.side is side and each.stood]
        try:
            return frozenset(topic for fence in standing if self._is_whole(fence) for topic in fence.topics)
        except KmigrateError as error:
            log.info("fences on the %s: %s", side, error)
            return None

    def _is_whole(self, fence: Fence) -> bool:
        return fence.is_wanted and Fencer(self._clients[fence.side], self._sources.fences).is_whole(fence)


def _looked_at_closely(side: Side, cutovers: Iterable[Cutover]) -> list[str]:
    """The groups of which it matters at this step whether they have read everything on a side."""
    return sorted({group for each in cutovers if _CLOSELY[side] & {*each.at.step.gates} for group in each.wave.groups})


def _copied(progress: PartitionProgress | None) -> Offset | None:
    """The source offset below which everything is on the target."""
    return None if progress is None or progress.position < 0 else progress.position


def _is_settled(bounds: Bounds | None) -> bool | None:
    return None if bounds is None else bounds.end == bounds.high_watermark == bounds.last_stable


def _verified(known: PartitionVerification | None) -> Offset | None:
    if known is None or known.end is None or known.verdict is Verdict.DIFFERENT:
        return None
    return Offset(known.end)


def _application_end(end: Offset, ended: Ends | None, back: Back | None) -> Offset | None:
    """A log end of the source without what the reverse copy appended behind the end of the copy; None: not known.

    While the copy back goes on nobody else has written: it looks at the log end itself, at every append and when it is
    idle, and stops at the first record that is not its own. What it says of its progress is always a little late.
    """
    if ended is None or back is None:
        return end
    if back.copied is None:
        return None if back.foreign_from is None else Offset(end - max(0, back.foreign_from - ended.source))
    return Offset(end - max(0, back.copied - ended.target)) if back.stop else ended.source


def _is_open(cutover: Cutover, tp: TopicPartition, late: LateSeen) -> bool:
    """Whether what the source gets is appended as it comes, or the rest of it is just being appended."""
    if cutover.is_in_force(EffectKind.CLOSE_OVERLAP, tp.topic):
        return False
    return late.until is None or cutover.is_in_force(EffectKind.OPEN_OVERLAP, tp.topic)


def settled_late(cutover: Cutover) -> dict[TopicPartition, Offset]:
    """Source offsets below which late records are on the target, or were listed."""
    settled: dict[TopicPartition, Offset] = {}
    for kind in (EffectKind.CLOSE_OVERLAP, EffectKind.APPEND_LATE, EffectKind.LIST_LATE):
        for tp, end in cutover.ends_of(kind).items():
            settled[tp] = max(end, settled.get(tp, end))
    return settled


def _application_records(
    source: Bounds | None,
    target: Bounds | None,
    progress: PartitionProgress | None,
    ended: Ends | None,
    late: LateSeen | None = None,
) -> int | None:
    """Records on the target that are not ours; while the copy runs only what it has stopped at, or has not appended."""
    if target is None:
        return None
    if ended is not None:
        return max(0, target.end - ended.target - (0 if late is None else late.sent))
    if progress is None or progress.target_end < 0:
        return None
    if progress.stop is not None:
        return max(1, target.end - progress.stop.offset) if progress.stop.kind is StopKind.FOREIGN_WRITE else 0
    if source is not None and progress.position >= source.end and target.end > progress.target_end:
        return target.end - progress.target_end
    return 0
