"""Whole pipelines in the bytes simulation: owners who order, copiers who copy, clusters that misbehave.

One `PipelineWorld` is one run: a few partitions on two brokers a side, one or two owners, each with a real `Handover`
and real `Pipeline`s that take their turns. After every append to the target the ledger of the partition is asked.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.copy.assign import Handover, Leaders, assign
from kmigrate.copy.copier import WINDOW
from kmigrate.copy.orders import (
    LeaseGrant,
    PartitionOrder,
    PipelineKey,
    PipelineOrder,
    Remembered,
    SavedMaps,
    WorkerSettings,
)
from kmigrate.copy.pipeline import Pipeline
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.rates import Rate, Rates
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.copy.throttle import Throttle
from kmigrate.kafka_types import BrokerId, LeaderEpoch, Offset, Partition, ProducerId, Side, Term, TopicId, TopicName
from kmigrate.kafka_types import TopicPartition as Place
from tests.simulation.batches import Record, make_batch, seal
from tests.simulation.ledger import BrokenLawError, Ledger
from tests.simulation.log import DAY_MS, PartitionLog
from tests.simulation.network import START_MS, Clock, Cluster, SimulatedNetwork, Weather

OURS = ProducerId((1 << 62) + 999)
CALM_ROUNDS = 1500
STORM = {
    "cut": 0.01,
    "late": 0.8,
    "error": 0.02,
    "flip": 0.01,
    "slow": 0.02,
    "throttle": 0.01,
    "no_session": 0.2,
    "evict": 0.05,
}
DISASTERS: dict[str, frozenset[StopKind]] = {
    "foreign_write": frozenset({StopKind.FOREIGN_WRITE}),
    "target_unclean": frozenset({StopKind.TARGET_LOST, StopKind.SOURCE_TRUNCATED, StopKind.SOURCE_REPLACED}),
    "source_unclean": frozenset({StopKind.SOURCE_TRUNCATED, StopKind.SOURCE_REPLACED}),
    "source_recreated": frozenset({StopKind.SOURCE_REPLACED, StopKind.SOURCE_TRUNCATED}),
    "source_trimmed": frozenset({StopKind.GAP_LOST, StopKind.STATE_LOST}),
    "source_corrupt": frozenset({StopKind.SOURCE_CORRUPT}),
    "source_special": frozenset({StopKind.UNSUPPORTED}),
}
"""What may strike one partition of a run, and the stops that may follow."""


class Owner:
    """Orders partitions to pipelines, hears what they report, and lets them take turns."""

    def __init__(self, world: PipelineWorld, *, first: bool, remembered: dict[Place, Remembered]) -> None:
        self.world = world
        self.first = first
        self.remembered = dict(remembered)
        self.handover = Handover()
        self.previous: dict[Place, PipelineKey] = {}
        self.pasts: dict[Place, tuple[int, bool, Remembered | None]] = {}
        self.number = 0
        self.orders: dict[PipelineKey, PipelineOrder] = {}
        self.saved: SavedMaps = {}
        self.unseen: dict[PipelineKey, set[Place]] = {}
        self.holding: dict[PipelineKey, set[Place]] = {}
        self.pipelines: dict[PipelineKey, Pipeline] = {}
        self.given: dict[PipelineKey, tuple[bool, LeaseGrant]] = {}
        self.progress: dict[Place, PartitionProgress] = {}
        self.paused = False
        self.grant = LeaseGrant(term=world.next_term(), deadline_seconds=world.clock.now + world.lease_seconds)
        self.throttle = Throttle()
        self.turning = False
        self.behind: set[PipelineKey] = set()
        self.lanes = world.chance.choice([1, 1, 2])
        self.settings = WorkerSettings(
            worker=0,
            links=dict.fromkeys(
                Side,
                ConnectionSettings(
                    client_id="simulated", request_timeout_ms=world.chance.choice([3_000, 9_000, 30_000])
                ),
            ),
            producer_id=OURS,
            memory_bytes=1 << 20,
            expiration_ms=DAY_MS,
        )
        self.learn()

    def learn(self) -> None:
        """Looks at the clusters and orders anew."""
        world = self.world
        leaders = {
            place: Leaders(self._leader(world.source, place), self._leader(world.target, place))
            for place in world.places
        }
        self.previous = assign(leaders, self.previous, workers=1, lanes=self.lanes)
        self.number += 1
        allowed = self.handover.decide(self.previous, self.number)
        by_key: dict[PipelineKey, list[PartitionOrder]] = {}
        for place, key in sorted(allowed.items()):
            by_key.setdefault(key, []).append(self.order(place))
        for key, order in self.orders.items():
            self.unseen.setdefault(key, set()).update(part.partition for part in order.partitions)
        self.orders = {
            key: PipelineOrder(
                key=key,
                source=world.source.address(key.source),
                target=world.target.address(key.target),
                partitions=tuple(parts),
            )
            for key, parts in by_key.items()
        }
        for key in self.orders:
            if key not in self.pipelines:
                self.pipelines[key] = self._pipeline(key)

    def change_hands(self, place: Place) -> None:
        """Another number of lanes, and one of them is to have the partition."""
        self.lanes = self.world.chance.choice([1, 2, 3])
        key = self.previous.get(place)
        if key is not None:
            self.previous[place] = key._replace(lane=self.world.chance.randrange(self.lanes))
            self.world.seen["changes of hands"] += key != self.previous[place]
        self.learn()

    def _leader(self, cluster: Cluster, place: Place) -> BrokerId | None:
        number = cluster.leaders[place]
        return BrokerId(number) if cluster.brokers[number].up else None

    def order(self, place: Place) -> PartitionOrder:
        """What is ordered of one partition."""
        world, given_at = self.world, self.handover.given_at(place)
        if self.pasts.get(place, (-1,))[0] != given_at:
            fresh = self.first and self.handover.is_first(place)
            self.pasts[place] = given_at, fresh, self.remembered.get(place)
        _, fresh, remembered = self.pasts[place]
        return PartitionOrder(
            partition=place,
            source_topic_id=TopicId(world.source.logs[place].topic_id),
            source_epoch=LeaderEpoch(world.source.logs[place].leader_epoch),
            target_topic_id=TopicId(world.target.logs[place].topic_id),
            target_epoch=LeaderEpoch(world.target.logs[place].leader_epoch),
            remembered=remembered,
            fresh=fresh,
            revision=0,
            start=Offset(world.starts.get(place, 0)),
        )

    def _pipeline(self, key: PipelineKey) -> Pipeline:
        def before_send(framed: bytes) -> None:
            paused, grant = self.given[key]
            if paused or self.world.clock.now >= grant.deadline_seconds:
                raise BrokenLawError(f"sent while {'paused' if paused else 'the lease had ended'}")

        world = self.world
        network = SimulatedNetwork(
            {Side.SOURCE: world.source, Side.TARGET: world.target},
            timeout_seconds=self.settings.links[Side.TARGET].request_timeout_ms / 1000,
            before_send=before_send,
            meanwhile=lambda: world.meanwhile(self, key),
        )
        source, target = world.source.address(key.source), world.target.address(key.target)
        buffer_bytes = world.chance.choice([2_000, 20_000, 200_000])
        return world.pipeline(key, self.settings, network, source, target, buffer_bytes, self.throttle)

    def renew(self) -> None:
        """The lease is good for some seconds more, if it is this owner's."""
        if not self.world.may_renew(self):
            return
        lapsed = self.world.clock.now >= self.grant.deadline_seconds
        self.grant = LeaseGrant(
            term=self.world.next_term() if lapsed else self.grant.term,
            deadline_seconds=self.world.clock.now + self.world.chance.random() * self.world.lease_seconds,
        )

    def turn(self, key: PipelineKey) -> None:
        """One pipeline takes its turn, under the newest orders or, now and then, those before."""
        if key in self.behind:
            return
        self.behind.add(key)
        self.given[key] = self.paused, self.grant
        order, number = self.orders.get(key), self.number
        wanted = {part.partition: part for part in order.partitions} if order is not None else {}
        holding = self.holding.setdefault(key, set())
        skipped = self.unseen.pop(key, set()) - wanted.keys() - holding  # as a worker tells: ordered, but never begun
        report = self.pipelines[key].turn(order, number, self.paused, self.grant, self.saved)
        self.behind.discard(key)
        self.holding[key] = set(wanted)
        if skipped and self.handover.on_released(key, number, skipped):
            self.learn()
        if report is None:
            return
        for each in report.partitions:
            self.heard(key, each, wanted.get(each.partition))
        if report.released and self.handover.on_released(key, report.orders, report.released):
            self.learn()
        if (report.source_trouble or report.target_trouble) and self.world.chance.random() < 0.5:
            self.learn()

    def heard(self, key: PipelineKey, each: PartitionProgress, part: PartitionOrder | None) -> None:
        """What is remembered are the ids under which it was copied."""
        self.progress[each.partition] = each
        if part is not None and each.position >= 0 and each.stop is None:
            assert part.source_topic_id is not None, "here topics are never gone"
            assert part.target_topic_id is not None, "here topics are never gone"
            self.remembered[each.partition] = Remembered(
                part.source_topic_id, part.target_topic_id, each.source_epoch, each.position
            )
        beyond = each.position > self.world.source.logs[each.partition].end
        if beyond and each.state is PartitionState.IN_SYNC and self.world.disaster is None:
            raise BrokenLawError("in sync beyond the source's end")

    def die(self) -> None:
        """The process is killed: connections end, whatever they carried."""
        for pipeline in self.pipelines.values():
            pipeline.close()


class PipelineWorld:
    """One run."""

    pipeline = Pipeline
    owner: type[Owner] = Owner
    steps = 40, 160
    lease_seconds = 8.0

    def __init__(self, seed: int) -> None:
        chance = self.chance = random.Random(seed)
        self.clock = Clock()
        self.weather = Weather(**{name: value * chance.choice([0, 1, 1, 3]) for name, value in STORM.items()})
        self.source = Cluster(Side.SOURCE, self.clock, chance, self.weather, chance.choice([12, 13, 17]))
        self.target = Cluster(Side.TARGET, self.clock, chance, self.weather, chance.choice([12, 13, 17]))
        self.target.appended = self.on_appended
        self.places = [
            Place(TopicName(name), Partition(index))
            for name in chance.choice([["orders"], ["orders", "payments"]])
            for index in range(chance.choice([1, 2, 4]))
        ]
        ids = {(side, place.topic): f"{chance.getrandbits(128):032x}" for place in self.places for side in Side}
        for cluster in (self.source, self.target):
            for place in self.places:
                cluster.logs[place] = PartitionLog(ids[cluster.side, place.topic])
                cluster.leaders[place] = chance.choice([1, 2])
        self.ledgers = {place: Ledger() for place in self.places}
        self.starts: dict[Place, int] = {}
        """Where partitions begin that are not copied from their log start on."""
        self.age = chance.choice(["recent", "recent", "old", "mixed"])
        self.several = self.age == "recent" and chance.random() < 0.4
        self.disaster = chance.choice([None, None, *DISASTERS])
        self.struck: Place | None = None
        self.bad_offset = -1
        self.misplaced = 0
        self.faults = True
        self.nested = 0
        self.written = self.terms = 0
        self.seen: Counter[str] = Counter()
        self.owners = [self.owner(self, first=True, remembered={})]

    @property
    def wall_ms(self) -> int:
        return START_MS + int(self.clock.now * 1000)

    # ── a run ─────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        chance = self.chance
        for _ in range(chance.choice([0, 5, 60])):
            self.write()
        steps = chance.randrange(*self.steps)
        strike_at = chance.randrange(steps) if self.disaster else -1
        for step in range(steps):
            if step == strike_at:
                self.strike()
            if chance.random() < 0.35:
                self.write()
            if chance.random() < 0.15:
                self.fault()
            for owner in self.owners:
                if chance.random() < 0.4:
                    owner.renew()
            owner = chance.choice(self.owners)
            if owner.pipelines:
                owner.turn(chance.choice(list(owner.pipelines)))
        self.calm()
        self.judge_end()

    def meanwhile(self, owner: Owner, key: PipelineKey) -> None:
        """While one pipeline waits for the network, others go on, and so does the world."""
        if self.nested >= 2 or not self.faults:
            return
        self.nested += 1
        if self.chance.random() < 0.1:
            other = self.chance.choice(self.owners)
            keys = [each for each in other.pipelines if (other, each) != (owner, key)]
            if keys:
                other.turn(self.chance.choice(keys))
        if self.chance.random() < 0.05:
            self.write()
        self.nested -= 1

    def calm(self) -> None:
        """Nothing goes wrong any more: all partitions come to their end in a bounded number of rounds."""
        self.faults = False
        for name in STORM:
            setattr(self.weather, name, 0.0)
        for cluster in (self.source, self.target):
            for broker in cluster.brokers.values():
                broker.up = True
            for log in cluster.logs.values():
                log.thaw()
            cluster.poke()
        for owner in self.owners:
            owner.paused = False
            owner.throttle.set_rates(Rates.together(None))
            owner.renew()
            owner.learn()
        for _ in range(CALM_ROUNDS):
            for owner in self.owners:
                owner.grant = LeaseGrant(term=owner.grant.term, deadline_seconds=self.clock.now + 60.0)
                for key in list(owner.pipelines):
                    owner.turn(key)
            if all(self.settled(owner, place) for owner in self.owners for place in self.places):
                return
        states = [owner.progress.get(place) for owner in self.owners for place in self.places]
        ends = [(self.source.logs[place].end, self.target.logs[place].end) for place in self.places]
        raise BrokenLawError(f"not finished: {states}, source and target end at {ends}")

    def settled(self, owner: Owner, place: Place) -> bool:
        seen = owner.progress.get(place)
        if seen is None:
            return False
        end = self.source.logs[place].last_stable_offset
        in_sync = seen.state is PartitionState.IN_SYNC and seen.position == end == self.copied_to(place)
        return seen.stop is not None or (in_sync and seen.source_end == end)

    def copied_to(self, place: Place) -> int:
        """The source offset that the end of the target's log stands for."""
        return self.target.logs[place].end

    # ── applications ──────────────────────────────────────────────────────────────────────────────────────────

    def _timestamp(self) -> int:
        age = self.chance.choice(["recent", "old"]) if self.age == "mixed" else self.age
        return self.wall_ms - (30 * DAY_MS if age == "old" else 0) + self.chance.randrange(-60_000, 60_000)

    def write(self, place: Place | None = None) -> None:
        """A batch of content of its own, of some codec and size, on some partition."""
        chance = self.chance
        place = place or chance.choice(self.places)
        self.written += 1
        size = chance.choice([4, 4, 50, 300, 3_000, 30_000])
        value = self.written.to_bytes(4, "big") + chance.randbytes(size)
        records = [Record(self._timestamp(), None, value)] * chance.choice([1, 2, 5])
        batch = make_batch(records, codec=chance.choice([0, 0, 1, 2, 3, 4]), attributes=chance.choice([0, 0x40]))
        self.ledgers[place].wrote(self.source.logs[place].write(batch))
        self.source.poke()

    def on_appended(self, place: Place) -> None:
        why = self.ledgers[place].misplaced(self.target.logs[place].batches)
        if why is None:
            return
        self.misplaced += 1
        disrupted = place == self.struck and self.disaster in ("foreign_write", "target_unclean")
        if not disrupted or self.misplaced > WINDOW * 2 * len(self.owners):
            raise BrokenLawError(f"{place}: {why}")

    # ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────

    def fault(self) -> None:
        chance = self.chance
        owner = chance.choice(self.owners)
        place = chance.choice(self.places)
        pick = chance.randrange(14)
        if pick == 0:
            self.elect(self.source, place)
        elif pick in (1, 2):
            self.elect(self.target, place)
        elif pick == 3:
            self.bounce(chance.choice([self.source, self.target]), chance.choice([1, 2]))
        elif pick == 4:
            chance.choice([self.source, self.target]).logs[place].freeze()
        elif pick == 5:
            for cluster in (self.source, self.target):
                cluster.logs[place].thaw()
                cluster.poke()
        elif pick == 6:
            owner.paused = not owner.paused
        elif pick == 7:
            owner.throttle.set_rates(self.limits())
        elif pick == 8 and not owner.behind:
            self.kill(owner)
        elif pick == 9 and self.several and len(self.owners) < 2:
            self.owners.append(self.owner(self, first=False, remembered={}))
        elif pick == 10:
            self.target.logs[place].expire(self.wall_ms)
        elif pick == 11 and not owner.behind and not owner.paused:
            self.kill_behind_a_frozen_follower(owner, place)
        elif pick == 12:
            owner.change_hands(place)
        else:
            owner.learn()

    def limits(self) -> Rates:
        """Limits of everything, of brokers, of topics and of the target's latency: mostly not all of them."""
        chance = self.chance
        brokers = [(side, BrokerId(number)) for side in Side for number in (1, 2)]
        topics = sorted({place.topic for place in self.places})
        slots = {each: slot for slot, each in enumerate((None, *brokers, *topics))}

        def some(limited: Iterable[Any], *choices: int) -> tuple[tuple[Any, Rate], ...]:
            wanted = [each for each in limited if chance.random() < 0.3]
            return tuple((each, Rate(slots[each], chance.choice(choices))) for each in wanted)

        return Rates(
            total=chance.choice([None, None, Rate(0, 20_000), Rate(0, 2_000_000)]),
            brokers=some(brokers, 20_000, 200_000) if chance.random() < 0.5 else (),
            topics=some(topics, 2_000, 50_000) if chance.random() < 0.5 else (),
            latency_ms=chance.choice([None, None, 1, 50]),
        )

    def next_term(self) -> Term:
        """The number of the next lease: higher than all before."""
        self.terms += 1
        return Term(self.terms)

    def may_renew(self, owner: Owner) -> bool:
        """Whether an owner may hold the lease; here several may, as if a lease could not be trusted."""
        return True

    def kill(self, owner: Owner) -> None:
        """The owner and its copiers die; another begins, with or without what the first one wrote down."""
        owner.die()
        survivors = self.survivors(owner)
        self.owners[self.owners.index(owner)] = self.owner(self, first=False, remembered=survivors)

    def survivors(self, owner: Owner) -> dict[Place, Remembered]:
        """What is still remembered when an owner died."""
        return owner.remembered if self.chance.random() < 0.5 else {}

    def kill_behind_a_frozen_follower(self, owner: Owner, place: Place) -> None:
        """What a dead copier sent behind an append that waits for followers is handled when that one is answered."""
        self.target.logs[place].freeze()
        for _ in range(3):
            for each in self.places:
                self.write(each)
            for key in list(owner.pipelines):
                owner.turn(key)
        self.kill(owner)
        for seconds in (6.0, 12.0, 20.0):
            self.clock.at(self.clock.now + seconds, self._expire_all)

    def _expire_all(self) -> None:
        for log in self.target.logs.values():
            log.expire(self.wall_ms)

    def elect(self, cluster: Cluster, place: Place) -> None:
        """Another broker leads, or the same in a new epoch; what followers had not copied may be lost."""
        chance, log = self.chance, cluster.logs[place]
        ends = [log.committed, *(batch.next for batch in log.batches if batch.next > log.committed)]
        end = chance.choice(ends) if cluster is self.target else log.end
        log.elect(
            end,
            high_watermark=log.high_watermark,
            now_ms=self.wall_ms,
            drop_expired=chance.random() < 0.7,
            other_cleaning=self.is_another_replica(cluster),
        )
        log.thaw()
        if chance.random() < 0.7:
            cluster.leaders[place] = 3 - cluster.leaders[place]
        cluster.poke()

    def is_another_replica(self, cluster: Cluster) -> bool:
        """Whether the new leader is one that cleans at other times."""
        return False

    def restart(self, cluster: Cluster, place: Place) -> None:
        """The leader comes back, with what its snapshot kept."""
        cluster.logs[place].restart(self.wall_ms, batches_each=self.chance.choice([1, 5]))
        cluster.logs[place].thaw()

    def bounce(self, cluster: Cluster, number: int) -> None:
        """A broker restarts; its partitions wait for it or move."""
        chance, broker = self.chance, cluster.brokers[number]
        broker.stop()
        moves = chance.random() < 0.5
        for place, leader in cluster.leaders.items():
            if leader == number and moves:
                self.elect(cluster, place)
                cluster.leaders[place] = 3 - number
            elif leader == number:
                self.restart(cluster, place)

        def back() -> None:
            broker.up = True

        self.clock.at(self.clock.now + chance.random() * 3, back)
        cluster.poke()

    # ── disasters ─────────────────────────────────────────────────────────────────────────────────────────────

    def strike(self) -> None:
        place = self.struck = self.chance.choice(self.places)
        source, target, ledger = self.source.logs[place], self.target.logs[place], self.ledgers[place]
        unclean = {"source_unclean": source, "target_unclean": target}
        match self.disaster:
            case "foreign_write":
                target.write(make_batch([Record(self.wall_ms, None, b"foreign")], producer_id=5))
            case "source_unclean" | "target_unclean":
                log = unclean[self.disaster]
                log.elect(
                    self.chance.choice(self.cuts(log)), high_watermark=1 << 60, now_ms=self.wall_ms, drop_expired=True
                )
                ledger.cut(source.batches)
            case "source_recreated":
                source.recreate(f"{self.chance.getrandbits(128):032x}")
                ledger.cut([])
            case "source_trimmed":
                source.delete_records(self.chance.randrange(source.end + 1))
                ledger.trimmed(source.log_start)
            case "source_corrupt":
                stored = source.write(make_batch([Record(self.wall_ms, None, b"corrupt")]))
                ledger.wrote(stored)  # another replica may hold it as it was written
                source.batches[-1] = stored._replace(data=stored.data[:-2] + b"??")
                self.bad_offset = stored.base
            case "source_special":
                stored = source.write(seal(b"special", magic=3, last_offset_delta=0, record_count=1))
                self.bad_offset = stored.base
        self.source.poke()
        self.target.poke()

    def cuts(self, log: PartitionLog) -> list[int]:
        """Where an unclean election may cut a log."""
        return [0, *(batch.next for batch in log.batches)]

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────

    def judge_end(self) -> None:
        for place in self.places:
            source, target = self.source.logs[place], self.target.logs[place]
            for owner in self.owners:
                stop = owner.progress[place].stop
                self.seen["completed" if stop is None else stop.kind.value] += 1
                if stop is not None:
                    self.judge_stop(place, stop)
                elif self.copied_to(place) != source.last_stable_offset or not self.ledgers[place].agree(
                    source, target, self.starts.get(place, 0)
                ):
                    raise BrokenLawError(f"{place}: a copier believes in a log that is not the source's")
        for cluster in (self.source, self.target):
            self.seen += cluster.seen

    def judge_stop(self, place: Place, stop: Stop) -> None:
        """A stop needs its reason: the run's disaster, or what was damaged twice on its way."""
        struck = place == self.struck and self.disaster is not None
        bad = struck and self.is_bad_batch(place, stop)
        flipped = self.flips_at(place, stop) + bad >= 2
        if struck and stop.kind in self.allowed(place):
            if self.bad_offset >= 0 and not flipped and not (bad and self.copied_to(place) == stop.offset):
                raise BrokenLawError(f"{place}: {stop}, but the bad batch lies at {self.bad_offset}")
            return
        if flipped and stop.kind in (StopKind.SOURCE_CORRUPT, StopKind.UNSUPPORTED):
            return
        raise BrokenLawError(f"{place}: no reason for {stop}")

    def allowed(self, place: Place) -> frozenset[StopKind]:
        """The stops that may follow from the disaster."""
        return DISASTERS[self.disaster or ""]

    def is_bad_batch(self, place: Place, stop: Stop) -> bool:
        """Whether a partition stopped at the batch that the disaster damaged."""
        return stop.offset == self.bad_offset

    def flips_at(self, place: Place, stop: Stop) -> int:
        """How often the batch at a stop was damaged on its way."""
        return self.source.flips[place, stop.offset]
