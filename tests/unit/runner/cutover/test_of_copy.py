"""Where a copy ended is told by log ends that stood still: of all topics at once, by looks that were answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kmigrate.copy.guard import QUIET_SECONDS
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.cutover import of_copy
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.cutover.carrying import Carried, Waits
from kmigrate.runner.cutover.of_copy import CopyEffects, TopicsStill
from kmigrate.schemes.cutover import begin
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.state.store import Store
from tests.unit.schemes.examples import NOW, OVERLAP

TOPICS = OVERLAP.topics
PLACES = [TopicPartition(topic, Partition(0)) for topic in TOPICS]


class World:
    """Topics whose copiers have let go; something may still be on its way to the target."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.ends = dict.fromkeys(PLACES, Offset(10))
        self.is_away = False
        self.corrected: dict[TopicName, Mapping[TopicPartition, Ends]] = {}
        self.store = Store.open(folder)
        monkeypatch.setattr(of_copy, "find_log_ends", self.find)
        copy = SimpleNamespace(
            end_topics=lambda _topics: None,
            ends_of=lambda topic: {tp: Ends(Offset(8), Offset(8)) for tp in PLACES if tp.topic == topic},
            correct_ends=self.corrected.__setitem__,
            quiet_seconds=lambda: QUIET_SECONDS,
        )
        unused: Any = None
        self.effects = CopyEffects(
            manifest=unused,
            book=CutoverBook(self.store),
            copy=copy,  # type: ignore[arg-type]
            effects=unused,
            clients=dict.fromkeys(Side, unused),
            memory=unused,
            to_source=lambda _tp, end: end,
            still_since=TopicsStill(lambda: self.now),
            strangers=lambda _tp, _start, _end: None,
        )

    def find(
        self, _open: object, _side: Side, topics: Sequence[TopicName], *, settled: bool
    ) -> dict[TopicPartition, Offset]:
        assert not settled
        if self.is_away:
            raise ClusterError("no answer", side=Side.TARGET)
        return {tp: end for tp, end in self.ends.items() if tp.topic in topics}

    def end(self, after: float = 0.0) -> Carried | Waits:
        self.now += after
        return self.effects.end_copy(begin(OVERLAP, NOW), Effect(kind=EffectKind.END_COPY, scope=""))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_all_topics_stand_still_at_once_and_their_log_ends_count(world: World) -> None:
    waits = world.end()
    assert isinstance(waits, Waits)
    assert "stands still on the target for 5 s first" in waits.reason
    for _ in range(4):
        assert isinstance(world.end(after=1.0), Waits)
    assert isinstance(world.end(after=1.0), Carried)
    assert world.corrected == {tp.topic: {tp: Ends(Offset(10), Offset(10))} for tp in PLACES}


def test_what_lands_meanwhile_begins_it_anew(world: World) -> None:
    for _ in range(5):
        world.end(after=1.0)
    world.ends[PLACES[-1]] = Offset(12)
    for _ in range(5):
        assert isinstance(world.end(after=1.0), Waits)
    assert isinstance(world.end(after=1.0), Carried)


def test_a_target_that_does_not_answer_or_answers_late_proves_nothing(world: World) -> None:
    for _ in range(5):
        world.end(after=1.0)
    world.is_away = True
    with pytest.raises(ClusterError):
        world.end(after=1.0)
    world.is_away = False
    for _ in range(3):
        assert isinstance(world.end(after=1.0), Waits), "what it has not read it may read now"
    assert isinstance(world.end(after=30.0), Waits), "it may have been frozen in between"
    assert isinstance(world.end(after=1.0), Waits)
    assert isinstance(world.end(after=1.0), Carried)
