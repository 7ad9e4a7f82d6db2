"""Mixed worlds of which only a part is wanted: many partitions begin above their source's log start.

What differs: before anything is copied, applications have written; a start is drawn up to the last stable offset, most
often that one, else any offset: inside a batch, a transaction, a hole.
"""

from __future__ import annotations

from kmigrate.kafka_types import TopicPartition as Place
from tests.simulation.ledger import BrokenLawError
from tests.simulation.mixed import MixedWorld


def draw_start(world: MixedWorld, place: Place) -> None:
    """What lies below some offset of the source is not wanted; most often that is the last stable offset."""
    chance, log = world.chance, world.source.logs[place]
    stable = log.last_stable_offset
    world.starts[place] = stable if chance.random() < 0.4 else chance.randrange(log.log_start, stable + 1)
    world.ledgers[place].trimmed(world.starts[place])


class StartedWorld(MixedWorld):
    """One run."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        for place in self.places:
            for _ in range(self.chance.choice([0, 5, 30])):
                self.write(place)
            if self.chance.random() >= 0.2:
                draw_start(self, place)
        for owner in self.owners:
            owner.learn()

    def judge_end(self) -> None:
        """Where all went well, nothing lies on the target below the start."""
        super().judge_end()
        for place, start in self.starts.items():
            log = self.target.logs[place]
            if all(owner.progress[place].stop is None for owner in self.owners):
                self.seen["begun above"] += start > self.source.logs[place].log_start
                if log.log_start < start:
                    raise BrokenLawError(f"{place}: the target begins at {log.log_start}, not at {start}")
