"""Mixed worlds in the offset classes *mapped* and *shifted*, and their owners: the real `Maps` on the real store.

An owner notes entries of the map from progress, saves them, and tells what is saved; each of these now and then late,
and the owner may die, or its worker, before and after each of them. What was not saved is lost with it. A new one
begins with what the store has. The store itself is lost in a few worlds.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from kmigrate.copy.orders import PartitionOrder, PipelineKey, Remembered, Saved
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import Stop, StopKind
from kmigrate.kafka_types import TopicPartition as Place
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Cut, Run
from kmigrate.runner.maps import Maps, has_begun
from kmigrate.state.schema import prepare
from kmigrate.state.store import Store
from tests.simulation.ledger import BrokenLawError
from tests.simulation.map_ledger import MapLedger
from tests.simulation.mixed import MixedWorld
from tests.simulation.pipelines import Owner
from tests.simulation.started import draw_start

MOSTLY_MAPPED = [OffsetClass.MAPPED] * 6 + [OffsetClass.SHIFTED] * 2 + [OffsetClass.IDENTICAL] * 2
SMALL_BUDGET = 2
"""What makes a partition of class *identical* ask for another class at its first larger gap, or log start."""
NO_MAP = "no offset map"
"""What a stop says where the store was lost."""


def open_store() -> Store:
    """The real store, on a database in memory."""
    path = Path("memory")
    connection = sqlite3.connect(":memory:", isolation_level=None)
    prepare(connection, path)
    return Store(connection, path, is_new=True, wall_ms=lambda: 0)


class MappedOwner(Owner):
    """An owner with maps, as `kmigrate.runner.copying` and `dispatch` have them."""

    world: MappedWorld

    def __init__(self, world: MappedWorld, *, first: bool, remembered: dict[Place, Remembered]) -> None:
        world.open()
        self.maps = Maps(world.store)
        self.maps.adopt(world.committed_classes)
        self.lives: dict[Place, tuple[int, OffsetClass, int, tuple[Run, ...]]] = {}
        self.life = 0
        self.noted: set[Place] = set()
        """Partitions with entries that are not saved yet."""
        self.untold: dict[Place, Saved] = {}
        self.promptness = world.chance.choice([0.9, 0.7, 0.2])
        super().__init__(world, first=first, remembered=remembered)

    def order(self, place: Place) -> PartitionOrder:
        order, world = super().order(place), self.world
        offset_class = world.classes[place]
        wanted = self.handover.given_at(place), offset_class
        if place not in self.lives or self.lives[place][:2] != wanted:
            self.save()  # in one step the owner saves, and orders afterwards: nobody begins on what is not saved
            memory = self.remembered.get(place)
            self.pasts[place] = wanted[0], order.fresh, memory
            order = super().order(place)
            self.life += 1
            runs = self.maps.runs(place, 0 if memory is None else memory.appended)
            self.lives[place] = *wanted, self.life, runs
        _, _, life, runs = self.lives[place]
        budget = world.budgets.get(place)
        limited = {} if budget is None else {"gap_budget": budget, "pad_budget": budget}
        return order._replace(
            offset_class=offset_class, runs=runs, life=life, revision=world.revisions[place], **limited
        )

    def heard(self, key: PipelineKey, each: PartitionProgress, part: PartitionOrder | None) -> None:
        place = each.partition
        if self.handover.holder(place) != key:
            return  # the last word of one that was taken away
        known = self.remembered.get(place)
        super().heard(key, each, part)
        if part is not None and each.position >= 0 and each.stop is None:
            now = self.remembered[place]._replace(appended=each.target_end)
            self.remembered[place] = known if known is not None and known[:2] != now[:2] else now
        before = self.maps.map_of(place).to_bytes()
        self.maps.on_progress(key, each)
        if self.maps.map_of(place).to_bytes() != before:
            self.noted.add(place)
        self.world.seen["cuts"] += any(isinstance(entry, Cut) for entry in each.entries)

    def turn(self, key: PipelineKey) -> None:
        super().turn(key)
        self.step()

    def step(self) -> None:
        """One step of the owner's loop, of which anything may come later."""
        world = self.world
        if world.comes(self.promptness):
            for place, progress in self.progress.items():
                holder = self.handover.holder(place)
                if holder is not None and world.comes(0.2):
                    self.maps.follow_start(holder, progress)
            self.save()
        if self.untold and world.comes(self.promptness):
            self.saved = {**self.saved, **self.untold}
            self.untold = {}
        if world.comes(0.3):
            world.kept = dict(self.remembered)
        if world.comes(0.3):
            self._answer_stops()

    def save(self) -> None:
        """What was noted is in the store from now on."""
        self.untold |= self.maps.save().get(0, {})
        for place in self.noted:
            self.world.on_saved(place)
        self.noted.clear()

    def _answer_stops(self) -> None:
        """An operator lets a partition that cannot keep its offsets go on in another class."""
        for place, progress in self.progress.items():
            before = self.world.classes[place]
            if not self.world.asks_for_class(place, progress):
                continue
            wider = [OffsetClass.MAPPED] * 2 + [OffsetClass.SHIFTED] * (not before.needs_map)
            offset_class = self.world.chance.choice(wider)
            self.maps.change({place: has_begun(self.remembered.get(place), progress)}, offset_class)
            self.world.on_class_changed(place, offset_class)
            self.learn()

    def lose_worker(self) -> None:
        """The worker dies and another one is started: it holds nothing, and was told nothing."""
        self.die()
        for known in (self.pipelines, self.orders, self.unseen, self.holding):
            known.clear()
        self.saved = {}
        self.handover.on_worker_died(0)
        self.learn()


class MappedWorld(MixedWorld):
    """One run."""

    owner = MappedOwner

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        chance = self.chance
        for place in self.places:
            if chance.random() < 0.3:
                for _ in range(chance.choice([0, 5, 30])):
                    self.write(place)
                draw_start(self, place)
        for owner in self.owners:
            owner.learn()

    def open(self) -> None:
        """Before the first owner begins: classes are drawn, recorded, and known to the ledgers."""
        if hasattr(self, "store"):
            return
        chance = self.chance
        self.ledgers = {place: MapLedger() for place in self.places}
        self.store = open_store()
        self.kept: dict[Place, Remembered] = {}
        self.committed_classes: dict[Place, OffsetClass] = {}
        self.revisions = dict.fromkeys(self.places, 0)
        self.target_starts = dict.fromkeys(self.places, 0)
        self.may_lose_store = chance.random() < 0.05
        self.store_lost = False
        self.classes = {place: chance.choice(MOSTLY_MAPPED) for place in self.places}
        self.budgets = {
            place: SMALL_BUDGET
            for place, each in self.classes.items()
            if each is OffsetClass.IDENTICAL and chance.random() < 0.5
        }
        Maps(self.store).decide(self.classes)
        for place, ledger in self.ledgers.items():
            ledger.offset_class = self.classes[place]

    def comes(self, likely: float) -> bool:
        """Whether something happens now that is bound to happen soon."""
        return not self.faults or self.chance.random() < likely

    def asks_for_class(self, place: Place, progress: PartitionProgress) -> bool:
        """Whether a partition waits for another class, and was not given one meanwhile."""
        stop, now = progress.stop, self.classes[place]
        asks = stop is not None and stop.asks_for_class and place in self.budgets
        return asks and now is progress.offset_class and now is not OffsetClass.MAPPED

    def settled(self, owner: Owner, place: Place) -> bool:
        """Who asks for a class is given one, and goes on."""
        seen = owner.progress.get(place)
        if seen is None or seen.offset_class is not self.classes[place] or self.asks_for_class(place, seen):
            return False
        return super().settled(owner, place)

    # ── what the ledgers are told ─────────────────────────────────────────────────────────────────────────────

    def on_saved(self, place: Place) -> None:
        """A map was saved."""
        runs = list(self.store.offset_map(place))
        self.seen["runs saved"] += max(0, len(runs) - len(self.ledgers[place].runs))
        if self._is_disrupted(place):
            self.ledgers[place].runs = runs
        else:
            self.ledgers[place].saved(runs, self.target.logs[place])

    def on_class_changed(self, place: Place, offset_class: OffsetClass) -> None:
        """An operator's answer was recorded."""
        self.classes[place] = offset_class
        self.revisions[place] += 1
        self.seen["classes changed"] += 1
        self.ledgers[place].becomes(offset_class, list(self.store.offset_map(place)), self.target.logs[place])

    def on_appended(self, place: Place) -> None:
        super().on_appended(place)
        if not self._is_disrupted(place):
            self.ledgers[place].check_end(self.target.logs[place])

    def _is_disrupted(self, place: Place) -> bool:
        """Whether others wrote to the target, or took from it what was acknowledged."""
        return place == self.struck and self.disaster in ("foreign_write", "target_unclean")

    def copied_to(self, place: Place) -> int:
        ledger, end = self.ledgers[place], self.target.logs[place].end
        if ledger.offset_class.needs_map and not ledger.runs:
            return -1
        return ledger.on_source(end)

    def certainly_copied(self, place: Place) -> int:
        committed = self.target.logs[place].committed
        if not committed or (self.classes[place].needs_map and not self.ledgers[place].runs):
            return 0
        return self.ledgers[place].on_source(committed - 1) + 1

    # ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────

    def fault(self) -> None:
        pick, idle = self.chance.random(), not self.holder.behind
        if pick < 0.05 and idle:
            self.kill(self.holder)
        elif pick < 0.15 and idle:
            self.seen["workers lost"] += 1
            self.holder.lose_worker()
        elif pick < 0.17 and idle and self.may_lose_store:
            self.lose_store()
        else:
            super().fault()
        self.check_target_starts()

    def survivors(self, owner: Owner) -> dict[Place, Remembered]:
        self.seen["lost saves"] += len(owner.noted)
        self.seen["saved but not told"] += len(owner.untold)
        return dict(self.kept)

    def lose_store(self) -> None:
        """Owner and store are lost; what the target remembers is left. What still lands is judged by the lost map."""
        self.store_lost = True
        self.seen["stores lost"] += 1
        self.store = open_store()
        self.committed_classes = dict(self.classes)
        self.kill(self.holder)

    def pass_lease_on(self) -> None:
        """Nobody begins on a store before its owner and that one's workers are dead."""
        if not self.holder.behind and self.clock.now >= self.holder.grant.deadline_seconds:
            self.kill(self.holder)

    def check_target_starts(self) -> None:
        """Nothing goes from the target but what lies below the source's log start, or is not wanted."""
        for place, before in self.target_starts.items():
            target, source, ledger = self.target.logs[place], self.source.logs[place], self.ledgers[place]
            self.target_starts[place] = target.log_start
            if target.log_start <= before or place == self.struck or not target.log_start:
                continue
            if ledger.offset_class.needs_map and not ledger.runs:
                continue
            self.seen["target starts moved"] += ledger.offset_class is OffsetClass.MAPPED
            wanted = max(source.log_start, self.starts.get(place, 0))
            if ledger.holds_between(wanted, ledger.on_source(target.log_start - 1) + 1):
                raise BrokenLawError(f"{place}: the target begins at {target.log_start}, the source at {wanted}")

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────

    def judge_end(self) -> None:
        self.check_target_starts()
        super().judge_end()
        for place in self.places:
            if all(owner.progress[place].stop is None for owner in self.owners):
                self.seen[f"{self.classes[place]} completed"] += 1
                self.seen["runs of completed maps"] += len(self.ledgers[place].runs)

    def allowed(self, place: Place) -> frozenset[StopKind]:
        """A new copier compares no more than the last run: a foreign record before it is told as a difference."""
        found = super().allowed(place)
        foreign = self.disaster == "foreign_write" and self.classes[place] is OffsetClass.MAPPED
        return found | {StopKind.SOURCE_TRUNCATED, StopKind.SOURCE_REPLACED} if foreign else found

    def judge_stop(self, place: Place, stop: Stop) -> None:
        if stop.kind is StopKind.STATE_LOST and NO_MAP in stop.evidence:
            foreign_first = place == self.struck and self.disaster == "foreign_write" and not self.ledgers[place].runs
            if not (self.classes[place].needs_map and (self.store_lost or foreign_first)):
                raise BrokenLawError(f"{place}: {stop}, but the store was never lost")
            return
        super().judge_stop(place, stop)
