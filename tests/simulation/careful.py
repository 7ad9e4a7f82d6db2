"""A pipeline that does one thing at a time, so that there is hardly anything that can go wrong: to try worlds with.

It reads twice what it will copy, writes one batch or one row of markers, and reads the log end before it goes on.
After every trouble, and under every new lease, it waits until the end has stood still for longer than anything may be
on its way. It compares nothing, so it cannot know of disasters; of the product it uses the wire room only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kmigrate.cluster.network import Link, Network
from kmigrate.copy.orders import LeaseGrant, PartitionOrder, PipelineKey, PipelineOrder, SavedMaps, WorkerSettings
from kmigrate.copy.progress import PartitionProgress, PipelineProgress
from kmigrate.copy.states import PartitionState
from kmigrate.copy.throttle import Throttle
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerAddress, LeaderEpoch, Offset, ProducerId, Side, Term, TopicPartition
from kmigrate.wire import calls, fetch, gap_calls, produce
from tests.simulation.batches import (
    CONTROL,
    GZIP,
    MAGIC_AT,
    TRANSACTIONAL,
    Record,
    StoredRecord,
    decode,
    make_batch,
)
from tests.simulation.mixed import MixedWorld

MARKERS = ProducerId((1 << 62) + 4444)
PATIENCE_SECONDS = 0.5
STEPS = 30
MOST_AT_ONCE = 40
FETCH_BYTES = 1_000


class Found(NamedTuple):
    """What follows a position on the source: its records that consumers see, and up to where that is known."""

    records: list[StoredRecord]
    known_until: int


class _Standing:
    """Where a partition stands: the end that is trusted (-1: none), and since when an end has been seen unchanged."""

    def __init__(self) -> None:
        self.trusted = self.seen_end = -1
        self.since = 0.0
        self.source_start = self.source_end = -1
        self.in_sync = False


class CarefulPipeline:
    """Takes the place of a `Pipeline`."""

    quiet_seconds = 6.0
    """Longer than a request may take after the end of its connection; one at a time waits behind no other."""
    readings = 2
    """How often something is read before it is believed: no CRC covers where a batch lies."""

    def __init__(
        self,
        key: PipelineKey,
        settings: WorkerSettings,
        network: Network,
        source: BrokerAddress,
        target: BrokerAddress,
        buffer_bytes: int,
        meter: Throttle,
    ) -> None:
        self._key = key
        self._network = network
        self._addresses = {Side.SOURCE: source, Side.TARGET: target}
        self._links: dict[Side, Link] = {}
        self._standings: dict[TopicPartition, _Standing] = {}
        self._grant = LeaseGrant(term=Term(0), deadline_seconds=0.0)

    def turn(
        self, order: PipelineOrder | None, orders_number: int, paused: bool, grant: LeaseGrant, saved: SavedMaps
    ) -> PipelineProgress | None:
        """Every partition makes some steps."""
        self._adopt(grant)
        wanted = {part.partition: part for part in order.partitions} if order is not None else {}
        released = [place for place in self._standings if place not in wanted]
        for place in released:
            del self._standings[place]
        trouble = {Side.SOURCE: "", Side.TARGET: ""}
        for place, part in wanted.items():
            standing = self._standings.setdefault(place, _Standing())
            try:
                for _ in range(0 if paused else STEPS):
                    if not self._step(part, standing):
                        break
            except ClusterError as error:
                trouble[error.side] = str(error)
                self._lose(error.side)
        if any(standing.trusted < 0 for standing in self._standings.values()):
            self._network.wait((), PATIENCE_SECONDS)
        return PipelineProgress(
            key=self._key,
            orders=orders_number,
            partitions=tuple(self._progress(place, standing) for place, standing in self._standings.items()),
            released=tuple(released),
            source_trouble=trouble[Side.SOURCE],
            target_trouble=trouble[Side.TARGET],
        )

    def _adopt(self, grant: LeaseGrant) -> None:
        if grant is not self._grant and self._network.steady_seconds() >= self._grant.deadline_seconds:
            self._doubt_all()  # what was seen under another lease proves nothing
        self._grant = grant

    def _doubt_all(self) -> None:
        for standing in self._standings.values():
            standing.trusted = standing.seen_end = -1

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    def _lose(self, side: Side) -> None:
        link = self._links.pop(side, None)
        if link is not None:
            link.close()
        self._doubt_all()

    def _link(self, side: Side) -> Link:
        if side not in self._links:
            self._links[side] = self._network.connect(side, self._addresses[side])
        return self._links[side]

    def _progress(self, place: TopicPartition, standing: _Standing) -> PartitionProgress:
        return PartitionProgress(
            partition=place,
            state=PartitionState.IN_SYNC if standing.in_sync else PartitionState.CATCHING_UP,
            position=Offset(standing.trusted),
            source_start=Offset(standing.source_start),
            source_end=Offset(standing.source_end),
            source_epoch=LeaderEpoch(-1),
            records=0,
            bytes=0,
            newest_ms=-1,
            crc_errors=0,
            reason="",
            stop=None,
        )

    # ── one step ──────────────────────────────────────────────────────────────────────────────────────────────

    def _step(self, part: PartitionOrder, standing: _Standing) -> bool:
        """One look, and one thing that is done; whether another step makes sense at once."""
        standing.in_sync = False
        end = self._settled_end(part, standing)
        if end is None:
            return False
        source_start = self._offset(Side.SOURCE, part.partition, calls.EARLIEST)
        source_end = self._offset(Side.SOURCE, part.partition, calls.LATEST, calls.READ_COMMITTED)
        target_start = self._offset(Side.TARGET, part.partition, calls.EARLIEST)
        if source_start is None or source_end is None or target_start is None:
            return False
        standing.source_start, standing.source_end = source_start, source_end
        if end < source_start:
            self._write_filler(part, standing, source_start - end)
        elif target_start < source_start:
            self._delete(part, source_start)
        elif end < source_end:
            self._copy(part, standing, source_end)
        else:
            standing.in_sync = True
        return not standing.in_sync and self._may_write()

    def _settled_end(self, part: PartitionOrder, standing: _Standing) -> int | None:
        """The target's true log end, once it is replicated and nothing of ours can be on its way."""
        answer = self._link(Side.TARGET).call(calls.offset_for_leader_epoch({part.partition: part.target_epoch}))
        end = answer[part.partition]
        if end.error:
            standing.trusted = standing.seen_end = -1
            return None
        if end.end_offset != standing.trusted:
            standing.trusted, now = -1, self._network.steady_seconds()
            if standing.seen_end != end.end_offset:
                standing.seen_end, standing.since = end.end_offset, now
            if now - standing.since < self.quiet_seconds:
                return None
            standing.trusted = end.end_offset
        replicated = self._offset(Side.TARGET, part.partition, calls.LATEST)
        return standing.trusted if replicated == standing.trusted else None

    def _offset(self, side: Side, place: TopicPartition, timestamp_ms: int, isolation_level: int = 0) -> int | None:
        answer = self._link(side).call(calls.list_offsets([place], timestamp_ms, isolation_level))[place]
        return None if answer.error else answer.offset

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────

    def _copy(self, part: PartitionOrder, standing: _Standing, source_end: int) -> None:
        position = standing.trusted
        found = self._read_often(part, position, source_end)
        if found is None:
            return
        first = found.records[0].offset if found.records else found.known_until
        if first > position:
            self._write_markers(part, standing, min(first - position, MOST_AT_ONCE))
            return
        dense = [record for number, record in enumerate(found.records) if record.offset == position + number]
        if dense:
            self._produce(part, standing, make_batch([record.record for record in dense[:MOST_AT_ONCE]]), len(dense))

    def _write_filler(self, part: PartitionOrder, standing: _Standing, count: int) -> None:
        batch = make_batch([Record(self._network.wall_ms(), None, None)] * count, codec=GZIP)
        self._produce(part, standing, batch, count)

    def _may_write(self) -> bool:
        return self._network.steady_seconds() < self._grant.deadline_seconds

    def _write_markers(self, part: PartitionOrder, standing: _Standing, count: int) -> None:
        if not self._may_write():
            return
        before, standing.trusted = standing.trusted, -1
        markers = {part.partition: gap_calls.Markers(count, self._grant.term)}
        answer = self._link(Side.TARGET).call(gap_calls.write_markers(markers, MARKERS))
        if not answer[part.partition]:
            standing.trusted = before + count  # the next step reads the end, and believes only that

    def _produce(self, part: PartitionOrder, standing: _Standing, batch: bytes, count: int) -> None:
        if not self._may_write():
            return
        before, standing.trusted = standing.trusted, -1
        link = self._link(Side.TARGET)
        topic = part.partition.topic.encode()
        correlation_id = link.next_correlation_id()
        link.send(
            produce.serialize_produce(
                correlation_id=correlation_id,
                client_id=link.client_id,
                timeout_ms=1_000,
                batches={topic: [(part.partition.partition, memoryview(batch))]},
            )
        )
        answer = produce.parse_produce(link.receive(bytearray(1 << 16))).partitions[topic, part.partition.partition]
        if not answer.error and answer.base_offset == before:
            standing.trusted = before + min(count, int.from_bytes(batch[57:61], "big"))

    def _delete(self, part: PartitionOrder, before: int) -> None:
        if self._may_write():
            self._link(Side.TARGET).call(gap_calls.delete_records({part.partition: Offset(before)}, 1_000))

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────

    def _read_often(self, part: PartitionOrder, position: int, source_end: int) -> Found | None:
        """What follows the position, if all readings agree."""
        one, *others = (self._read(part, position, source_end) for _ in range(self.readings))
        return one if all(other == one for other in others) else None

    def _read(self, part: PartitionOrder, position: int, source_end: int) -> Found | None:
        link = self._link(Side.SOURCE)
        version = fetch.BY_ID if link.highest_version(fetch.API_KEY) >= fetch.BY_ID else fetch.BY_NAME
        topic = fetch.topic_key(version, part.partition.topic, part.source_topic_id or "")
        link.send(
            [
                fetch.serialize_fetch(
                    version=version,
                    correlation_id=link.next_correlation_id(),
                    client_id=link.client_id,
                    max_wait_ms=100,
                    max_bytes=FETCH_BYTES,
                    isolation_level=calls.READ_COMMITTED,
                    session_id=0,
                    session_epoch=-1,
                    wishes={topic: [fetch.Wish(part.partition.partition, -1, position, -1, FETCH_BYTES)]},
                    forgotten={},
                )
            ]
        )
        answer = link.receive(bytearray(1 << 16))
        (found,) = fetch.parse_fetch(answer, version).partitions
        if found.error:
            return None
        try:
            return _visible(bytes(answer[found.start : found.end]), found.aborted, position, source_end)
        except (ValueError, IndexError):
            return None  # damaged on its way


def _visible(data: bytes, aborted: tuple[tuple[int, int], ...], position: int, source_end: int) -> Found:
    records: list[StoredRecord] = []
    to_come = sorted((first, producer_id) for producer_id, first in aborted)
    aborting: set[int] = set()
    after = position if data else source_end
    for batch in _batches(data):
        found = decode(batch)
        if batch[MAGIC_AT] < 2:
            after = found[-1].offset + 1
        else:
            after = int.from_bytes(batch[:8], "big") + int.from_bytes(batch[23:27], "big") + 1
            producer_id = int.from_bytes(batch[43:51], "big", signed=True)
            while to_come and to_come[0][0] < after:
                aborting.add(to_come.pop(0)[1])
            if batch[22] & CONTROL:
                aborting.discard(producer_id)
                continue
            if batch[22] & TRANSACTIONAL and producer_id in aborting:
                continue
        records += [record for record in found if record.offset >= position]
    return Found(records, after)


def _batches(data: bytes) -> Iterator[bytes]:
    while len(data) >= 12 and len(data) >= (size := 12 + int.from_bytes(data[8:12], "big")):
        yield data[:size]
        data = data[size:]


# ── worlds for it ─────────────────────────────────────────────────────────────────────────────────────────────────


class _NothingIsRemembered(set):  # type: ignore[type-arg]
    """So that everything that is read may come damaged, again and again."""

    def __contains__(self, _: object) -> bool:
        return False


class CarefulWorld(MixedWorld):
    """A run in bad weather, without disasters: this pipeline would not notice them."""

    pipeline = CarefulPipeline
    disasters = False
    flip = 0.1

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        weather = self.weather
        weather.cut, weather.late, weather.error, weather.flip = 0.02, 0.9, 0.06, self.flip
        weather.tails_flipped = _NothingIsRemembered()
