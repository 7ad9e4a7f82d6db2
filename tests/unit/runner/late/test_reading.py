"""What is concluded from an answer without records."""

from __future__ import annotations

from kmigrate.cluster.reader import Fetched
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.late.gathering import Gathered, Limits
from kmigrate.runner.late.reading import HOLE_SECONDS, LateSource, Wish

PLACE = TopicPartition(TopicName("orders"), Partition(0))


class World:
    """A source that has records up to `readable`, and sends none."""

    def __init__(self) -> None:
        self.now = 100.0
        self.readable = 50
        self.source = LateSource(self, (), lambda: self.now)  # type: ignore[arg-type]

    def fetch_some(self, at: dict[TopicPartition, Offset], _bytes: int, _max_wait_ms: int) -> list[Fetched]:
        return [Fetched(tp, 0, self.readable, memoryview(b""), ()) for tp in at]

    def read(self, start: int, end: int | None = None) -> object:
        wish = Wish(Offset(start), None if end is None else Offset(end), Limits())
        return self.source.read({PLACE: wish}, 0).get(PLACE)


def test_a_hole_at_the_end_is_believed_once_it_was_seen_for_a_while() -> None:
    world = World()
    assert world.read(40) is None
    world.now += HOLE_SECONDS / 2
    assert world.read(40) is None
    world.now += HOLE_SECONDS / 2
    assert world.read(40) == Gathered((), Offset(50))
    assert world.read(40, end=45) == Gathered((), Offset(45))


def test_at_another_offset_it_is_another_hole() -> None:
    world = World()
    assert world.read(40) is None
    world.now += HOLE_SECONDS
    assert world.read(42) is None


def test_at_the_end_of_what_may_be_read_there_is_no_hole() -> None:
    world = World()
    world.now += HOLE_SECONDS
    assert world.read(50) is None
