"""How many workers and lanes there should be, and which partitions should change hands.  (pure)

Workers grow where a worker's own CPU is what limits, one core each; lanes grow where a pair of brokers keeps its
pipelines waiting, and shrink again if that brought nothing. Partitions that are behind move from the pipeline with the
most work to the one with the least, between the same brokers: how that is done safely is the business of
`kmigrate.copy.assign`. Rule: nothing is done for work of a few seconds, and one step at a time.

Where there are few pairs of brokers each begins with two lanes: a broker reads nothing more from a connection while it
appends what came over it, so a pipeline alone waits where another one could walk and send.

Time comes in as a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kmigrate.copy.orders import PipelineKey
from kmigrate.copy.spending import NOTHING_SPENT, Spent
from kmigrate.kafka_types import BrokerId, TopicPartition

STEP_SECONDS = 10.0
MOST_WORKERS = 16
MOST_LANES = 4
FIRST_LANES = 2
FEW_PAIRS = 4
"""With so many pairs of brokers, or fewer, the first lanes are worth their memory."""
BUSY_SHARE = 0.85
"""A worker whose own CPU takes so much of a core is limited by it."""
WAITING_SHARE = 0.6
"""A pair of brokers that keeps its pipelines waiting for so much of their time may be faster over more connections."""
HELD_SHARE = 0.1
"""Unless limits and quotas take so much."""
GAIN = 1.1
"""What another lane must bring, to stay."""
WORTH_SECONDS = 10.0
"""Work of less than this is not worth a change of hands."""
FIRST_WORTH_OFFSETS = 200_000
"""The same where no speed is known yet."""

Pair = tuple[BrokerId, BrokerId]


class Behind(NamedTuple):
    """What is left of a partition, in offsets, and who has it."""

    partition: TopicPartition
    key: PipelineKey
    left: int


class Scale(NamedTuple):
    """How many there should be now, and what should change hands."""

    workers: int
    lanes: int
    moves: Mapping[TopicPartition, PipelineKey]


class _Window(NamedTuple):
    """What was at the beginning of a step: what each pipeline had spent, and all offsets copied so far."""

    at: float
    spent: Mapping[PipelineKey, Spent]
    copied: int


def most_workers(workers: int | None, cores: int) -> int:
    """How many workers there may ever be; None lets it be found."""
    return min(cores, MOST_WORKERS) if workers is None else workers


class Scaling:
    """Decides step by step; None for workers or lanes lets it find them."""

    def __init__(self, *, workers: int | None, lanes: int | None, cores: int, pairs: int) -> None:
        """`pairs`: between how many pairs of brokers partitions may lie."""
        self.workers = workers or 1
        self.lanes = lanes or (FIRST_LANES if pairs <= FEW_PAIRS else 1)
        self._most_workers = most_workers(workers, cores)
        self._most_lanes = MOST_LANES if lanes is None else lanes
        self._spent: dict[PipelineKey, Spent] = {}
        self._window: _Window | None = None
        self._before: float | None = None
        """The speed with one lane less, while it is not known whether the last one brought anything."""
        self._settles = False
        """Whether that lane has just been added: partitions that change hands stand still for a moment."""

    def observe(self, key: PipelineKey, spent: Spent) -> None:
        """Takes what a pipeline says that it has spent."""
        if spent != NOTHING_SPENT:
            self._spent[key] = spent

    def is_due(self, now: float) -> bool:
        """Whether a step is to be made."""
        return self._window is None or now - self._window.at >= STEP_SECONDS

    def step(self, now: float, copied: int, behind: Iterable[Behind]) -> Scale | None:
        """Every few seconds what should change; None if nothing should.

        `copied` are all offsets copied so far, `behind` every partition that is not in sync, and moves.
        """
        window = self._window
        if not self.is_due(now):
            return None
        self._window = _Window(now, dict(self._spent), copied)
        if window is None:
            return None
        speed = max(0, copied - window.copied) / (now - window.at)
        work = _Work(behind, speed)
        before = self.workers, self.lanes
        spent = {
            key: each.since(window.spent.get(key, NOTHING_SPENT))
            for key, each in self._spent.items()
            if key.worker < self.workers and key.lane < self.lanes
        }
        if work.is_worth_it:
            self._decide(work, spent, now - window.at, speed)
        else:
            self._before = None
        settles = self.workers > before[0] or self.lanes < before[1]  # a worker needs a moment before it is of use
        moves = {} if settles else self._moves(work)
        if before == (self.workers, self.lanes) and not moves:
            return None
        return Scale(self.workers, self.lanes, moves)

    def _decide(self, work: _Work, spent: Mapping[PipelineKey, Spent], seconds: float, speed: float) -> None:
        if self._before is not None:  # a lane is being tried
            if self._settles:
                self._settles = False
                return
            before, self._before = self._before, None
            if speed < before * GAIN:
                self.lanes -= 1
                self._most_lanes = self.lanes
                return
        own: dict[int, float] = {}
        for key, each in spent.items():
            own[key.worker] = own.get(key.worker, 0.0) + each.own
        is_busy = any(used / seconds >= BUSY_SHARE and work.of_worker(worker) > 1 for worker, used in own.items())
        all_work = all(work.of_worker(worker) for worker in range(self.workers))  # else work must go there first
        if is_busy and all_work and self.workers < self._most_workers:
            self.workers += 1
            return
        if self.lanes < self._most_lanes and any(
            _is_kept_waiting(each) and work.of_pipeline(key) > 1 for key, each in spent.items()
        ):
            self.lanes += 1
            self._before, self._settles = speed, True

    def _moves(self, work: _Work) -> dict[TopicPartition, PipelineKey]:
        """For every pair of brokers one half of what the busiest pipeline has more than the idlest."""
        moves: dict[TopicPartition, PipelineKey] = {}
        for pair, parts in work.by_pair.items():
            keys = [PipelineKey(worker, *pair, lane) for worker in range(self.workers) for lane in range(self.lanes)]
            left = {key: sum(each.left for each in parts if each.key == key) for key in keys}
            most, least = max(keys, key=left.__getitem__), min(keys, key=lambda key: (left[key], key))
            excess = left[most] - left[least]
            if excess < work.worth_offsets:
                continue
            mine = sorted((each for each in parts if each.key == most), key=lambda each: (-each.left, each.partition))
            moved = 0
            for each in mine:  # never all of them: half of what it has more is less than it has
                if moved + each.left <= excess / 2 and each.left:
                    moves[each.partition] = least
                    moved += each.left
        return moves


def _is_kept_waiting(spent: Spent) -> bool:
    if spent.busy < STEP_SECONDS / 2:
        return False
    waiting = spent.source + spent.target + spent.network + spent.gaps
    return waiting / spent.busy >= WAITING_SHARE and (spent.held_up + spent.lease) / spent.busy < HELD_SHARE


class _Work:
    """What is left, by who has it."""

    def __init__(self, behind: Iterable[Behind], speed: float) -> None:
        self.by_pair: dict[Pair, list[Behind]] = {}
        self._of_pipeline: dict[PipelineKey, int] = {}
        self._of_worker: dict[int, int] = {}
        left = 0
        for each in behind:
            self.by_pair.setdefault((each.key.source, each.key.target), []).append(each)
            self._of_pipeline[each.key] = self._of_pipeline.get(each.key, 0) + 1
            self._of_worker[each.key.worker] = self._of_worker.get(each.key.worker, 0) + 1
            left += each.left
        self.worth_offsets = max(1, int(speed * WORTH_SECONDS)) if speed else FIRST_WORTH_OFFSETS
        self.is_worth_it = left >= self.worth_offsets

    def of_pipeline(self, key: PipelineKey) -> int:
        return self._of_pipeline.get(key, 0)

    def of_worker(self, worker: int) -> int:
        return self._of_worker.get(worker, 0)
