"""The topic of a mirrored state, simulated: one log, whose broker fences writers, forgets nothing, and may be away."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Offset, Side, TopicId, TopicName
from kmigrate.runner.mirror_topic import (
    Found,
    MirrorAbsent,
    MirrorDenied,
    MirrorDiffers,
    MirrorFenced,
    MirrorTopic,
    Record,
)
from kmigrate.state.mirror import HEAD_KEY, Head, Producer


class MirrorLog:
    """What the brokers keep."""

    def __init__(self) -> None:
        self.exists = False
        self.denied = False
        self.away = False
        self.lost_answers = 0
        """So many appends are made, and their answers lost."""
        self.records: list[Record] = []
        self.batches: list[list[Record]] = []
        self.epochs: dict[int, int] = {}
        self.last: dict[int, int] = {}

    def delete(self) -> None:
        """Somebody deletes the topic."""
        self.exists = False
        self.records, self.batches, self.epochs, self.last = [], [], {}, {}


class SimulatedMirrorTopic(MirrorTopic):
    """As the real one, over the log in place of a client."""

    def __init__(self, log: MirrorLog) -> None:
        self.topic = TopicName("__kmigrate.orders")
        self.log = log
        self._by: Producer | None = None
        self._next = 0
        self._end: int | None = None
        self._lost: list[Record] | None = None

    def _reach(self) -> None:
        if self.log.away:
            raise ClusterError("nobody answers", side=Side.TARGET)

    def create(self) -> None:
        self._reach()
        if self.log.denied:
            raise MirrorDenied("creating is refused")
        self.log.exists = True

    def head(self) -> Head | None:
        self._must_be()
        if not self.log.records:
            return None
        last = self.log.records[-1]
        head = Head.from_bytes(last.value) if last.key == HEAD_KEY and last.value else None
        if head is None:
            raise MirrorDenied("it holds what kmigrate did not write")
        return head

    def _must_be(self) -> None:
        self._reach()
        if not self.log.exists:
            raise MirrorAbsent("there is no topic")

    def read(self, take: Callable[[Record], None], end: int = 0) -> None:
        self._must_be()
        assert len(self.log.records) >= end
        for record in self.log.records:
            take(record)

    def look(self) -> Found:
        self._must_be()
        return Found(TopicId("a" * 32), Offset(0), Offset(len(self.log.records)))

    def begin(self, producer: Producer) -> None:
        self._by, self._next, self._end, self._lost = producer, 0, None, None

    def append(self, records: Iterable[Record], now_ms: int) -> int:
        batch = list(records)
        if self._lost is not None:
            assert batch == self._lost, "the same bytes go out until their outcome is known"
        self._must_be()
        if self.log.denied:
            raise MirrorDenied("writing is refused")
        assert self._by is not None
        known = self.log.epochs.get(self._by.producer_id, -1)
        if self._by.epoch < known:
            raise MirrorFenced("another owner writes")
        is_repeated = known == self._by.epoch and self.log.last.get(self._by.producer_id) == self._next
        if not is_repeated:
            self.log.epochs[self._by.producer_id] = self._by.epoch
            self.log.last[self._by.producer_id] = self._next
            self.log.records += batch
            self.log.batches.append(batch)
        if self.log.lost_answers:
            self.log.lost_answers -= 1
            self._lost = batch
            raise ClusterError("no answer", side=Side.TARGET)
        self._lost = None
        base = len(self.log.records) - len(batch)
        if self._end is not None and base != self._end:
            raise MirrorDiffers(f"a batch lies at {base}, not at {self._end}")
        self._next += 1
        self._end = base + len(batch)
        return self._end

    @property
    def is_pending(self) -> bool:
        return self._lost is not None

    def close(self) -> None:
        pass
