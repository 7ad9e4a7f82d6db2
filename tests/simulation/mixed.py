"""Whole pipelines in the bytes simulation, over partitions that hold everything that a partition can hold.

What differs from the plain runs: each source partition has a `MixedLoad`; the lease is held by one owner at a time,
as nothing else guards markers; sources are trimmed behind the copy; a crash may bring back what was deleted on the
target; and each replica of a source cleans for itself.
"""

from __future__ import annotations

from kmigrate.copy.orders import LeaseGrant
from kmigrate.copy.states import Stop, StopKind
from kmigrate.kafka_types import Side
from kmigrate.kafka_types import TopicPartition as Place
from tests.simulation.ledger import is_control
from tests.simulation.loads import MixedLoad
from tests.simulation.log import PartitionLog
from tests.simulation.network import Cluster
from tests.simulation.pipelines import DISASTERS, Owner, PipelineWorld

OVERSHOT = frozenset({StopKind.GAP_OVERSHOT})
"""What a foreign record may be taken for, where markers were written behind it."""
OUTRUN = frozenset({StopKind.GAP_LOST})
"""What may follow where the source's log start moved."""
FORGOTTEN = frozenset({StopKind.STATE_LOST})
"""What may follow where the source is not what it was, and nobody remembers that."""


class MixedWorld(PipelineWorld):
    """One run."""

    steps = 80, 240
    lease_seconds = 30.0
    disasters = True
    """Whether one may strike; `source_special` is no disaster here."""
    replicas_clean_apart = True
    """Whether a new leader of a source may hold records that the one before had cleaned, and the other way round."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.several = False
        self.weather.flip_places = 0.3
        self.holder = self.owners[0]
        if not self.disasters or self.disaster in ("source_special", "source_unclean"):
            self.disaster = None  # where a cleaner took all that could be compared, another history cannot be noticed
        self.loads = {
            place: MixedLoad(
                self.chance, self.source.logs[place], self.ledgers[place], self._timestamp, lambda: self.wall_ms
            )
            for place in self.places
        }
        self.marked_wrong: dict[Place, int] = {}
        for load in self.loads.values():
            load.begin()

    # ── applications ──────────────────────────────────────────────────────────────────────────────────────────

    def write(self, place: Place | None = None) -> None:
        self.loads[place or self.chance.choice(self.places)].write()
        self.source.poke()

    def on_appended(self, place: Place) -> None:
        """A row of misplaced markers counts as one misplaced append."""
        log = self.target.logs[place]
        stored = log.batches[-1]
        if self.marked_wrong.get(place) == stored.base and self.ledgers[place].misplaced(log.batches):
            self.marked_wrong[place] = stored.next
            return
        before = self.misplaced
        super().on_appended(place)
        if self.misplaced > before and is_control(stored):
            self.marked_wrong[place] = stored.next

    def calm(self) -> None:
        """All but the holder of the lease are superseded, and transactions end; now and then one hangs."""
        for owner in self.owners:
            if owner is not self.holder:
                owner.die()
        self.owners = [self.holder]
        for load in self.loads.values():
            load.settle(all_of_them=self.disaster is not None or self.chance.random() < 0.9)
        super().calm()

    # ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────

    def fault(self) -> None:
        chance, place = self.chance, self.chance.choice(self.places)
        pick = chance.random()
        load, target = self.loads[place], self.target.logs[place]
        if pick < 0.1 and load.cleans:
            load.clean()
        elif pick < 0.2 and load.trims and (copied := self.certainly_copied(place)):
            load.trim(chance.randrange(copied + 1))
        elif pick < 0.25:
            target.checkpoint()
        elif pick < 0.35:
            self.pass_lease_on()
        else:
            super().fault()

    def certainly_copied(self, place: Place) -> int:
        """Below this source offset everything lies on the target, whatever happens to its brokers."""
        return self.target.logs[place].committed

    def may_renew(self, owner: Owner) -> bool:
        return owner is self.holder

    def pass_lease_on(self) -> None:
        """A second owner waits for the lease, and gets it when the first one's has run out."""
        if len(self.owners) < 2:
            waiting = self.owner(self, first=False, remembered=dict(self.holder.remembered))
            waiting.grant = LeaseGrant(term=waiting.grant.term, deadline_seconds=self.clock.now)
            self.owners.append(waiting)
        elif self.clock.now >= self.holder.grant.deadline_seconds:
            self.holder = next(owner for owner in self.owners if owner is not self.holder)
            self.holder.grant = LeaseGrant(term=self.next_term(), deadline_seconds=self.clock.now + self.lease_seconds)

    def kill(self, owner: Owner) -> None:
        at, held = self.owners.index(owner), owner is self.holder
        super().kill(owner)
        if held:
            self.holder = self.owners[at]
        else:
            self.owners[at].grant = LeaseGrant(term=owner.grant.term, deadline_seconds=self.clock.now)

    def is_another_replica(self, cluster: Cluster) -> bool:
        return self.replicas_clean_apart and cluster is self.source and self.chance.random() < 0.3

    def restart(self, cluster: Cluster, place: Place) -> None:
        cluster.logs[place].restart(
            self.wall_ms,
            batches_each=self.chance.choice([1, 5]),
            log_start_lost=cluster.side is Side.TARGET and self.chance.random() < 0.5,
        )
        cluster.logs[place].thaw()

    def strike(self) -> None:
        super().strike()
        assert self.struck is not None
        load, log = self.loads[self.struck], self.source.logs[self.struck]
        if self.disaster == "source_corrupt":
            load.cleans = False
        elif self.disaster == "source_trimmed":
            load.trim(log.log_start)

    def cuts(self, log: PartitionLog) -> list[int]:
        """Not where a decision would be lost whose records may be copied already.

        They may then be decided the other way, and nothing tells such a record from one that a cleaner left elsewhere.
        """
        assert self.struck is not None
        copied = self.target.logs[self.struck].end
        bound = max((marker + 1 for first, marker in log.transactions.decided if first < copied), default=0)
        return (
            [end for end in super().cuts(log) if end >= bound]
            if self.disaster == "source_unclean"
            else super().cuts(log)
        )

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────

    def judge_stop(self, place: Place, stop: Stop) -> None:
        """Who remembers nothing, where the source holds nothing of what was copied, has nothing to go by.

        A record that a replica shows again, where an unanswered marker ends the target's log, looks like one too many.
        """
        if stop.kind is StopKind.GAP_OVERSHOT and self.ledgers[place].was_gap(stop.offset):
            return
        if stop.kind is not StopKind.STATE_LOST or self.ledgers[place].holds_between(
            max(self.source.logs[place].log_start, self.starts.get(place, 0)), stop.offset
        ):
            super().judge_stop(place, stop)

    def allowed(self, place: Place) -> frozenset[StopKind]:
        disaster = self.disaster or ""
        found = DISASTERS[disaster]
        if disaster == "foreign_write":
            found |= OVERSHOT
        if disaster.startswith("source"):
            found |= FORGOTTEN
        return found | OUTRUN if self.loads[place].was_trimmed else found

    def is_bad_batch(self, place: Place, stop: Stop) -> bool:
        """A gap before the batch may be where the copy stands."""
        before = stop.offset <= self.bad_offset
        return before and not self.ledgers[place].holds_between(stop.offset, self.bad_offset)

    def flips_at(self, place: Place, stop: Stop) -> int:
        """All that were damaged from the stop on up to the first batch with something to copy."""
        return sum(
            count
            for (damaged, offset), count in self.source.flips.items()
            if damaged == place and self._is_next(place, stop.offset, offset)
        )

    def _is_next(self, place: Place, position: int, offset: int) -> bool:
        """Whether a copy that stands at a position comes to the batch that holds an offset before it copies anything.

        Wrappers of older formats are known by their last offset.
        """
        batch = self.ledgers[place].batch_at(offset)
        base, after = (batch.base, batch.next) if batch is not None else (offset, offset + 1)
        return position < after and not self.ledgers[place].holds_between(position, base)
