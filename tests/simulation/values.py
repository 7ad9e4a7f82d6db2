"""The values simulation: real copiers and real inquiries between two modelled partitions, driven by chance.

One `World` is one run of one partition: a source and a target log, up to two copiers, requests on their way, a clock.
What chance decides comes from one `random.Random`, so a seed is a run. After every append to the target the world
checks that the target's log is, batch by batch, a chain that the source's log once was.

A target *disruption* (a foreign write, an unclean election, a recreated topic) may misplace batches that were sent by a
copier which could not know of it yet; every other misplaced batch breaks a law.

In some runs two copiers work at once, as if the lease did not exist: the sequence keeps them from harm. Where the
source is trimmed there is one at a time, for filler goes under another id: only the lease keeps two from harm there.

In some runs the source is compacted: what a copier takes in must have been read so early that no tombstone can be gone.

In some runs the target holds what the source does before anything is copied, written by others, and is ours from there
on: the way back.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from kmigrate.cluster.network import Link
from kmigrate.copy.copier import WINDOW, Copier, Phase
from kmigrate.copy.guard import QUIET_SECONDS
from kmigrate.copy.inquiry import Denied, Inquiry, Question, Unclear
from kmigrate.copy.orders import PartitionOrder, Remembered
from kmigrate.copy.pieces import Batch, Room
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState, StopKind
from kmigrate.errors import ClusterError, ConnectionLost
from kmigrate.kafka_types import (
    UNKNOWN_EPOCH,
    LeaderEpoch,
    Offset,
    Partition,
    ProducerId,
    Side,
    TopicId,
    TopicName,
    TopicPartition,
)
from kmigrate.wire.fetch import FetchedPartition
from kmigrate.wire.gap_calls import LogStart
from kmigrate.wire.produce import AppendAnswer
from tests.simulation import log as broker
from tests.simulation.batches import MAGIC_AT, Record, crc_holds, make_batch, seal
from tests.simulation.ledger import BrokenLawError, Ledger
from tests.simulation.links import LogLink
from tests.simulation.log import DAY_MS, Appended, PartitionLog, Served
from tests.simulation.wire import FetchPart

TP = TopicPartition(TopicName("orders"), Partition(0))
OURS = ProducerId((1 << 62) + 12345)
EXPIRATION_MS = DAY_MS
GUARDED_MS = EXPIRATION_MS // 2
START_MS = 1_760_000_000_000
APPEND_TIMEOUT_SECONDS = 20.0
LATEST_ARRIVAL_SECONDS = QUIET_SECONDS * 0.99
"""How long after the end of its connection a request may still be handled, besides what it waits behind others."""
CALM_ROUNDS = 300


VARIABLE = "KMIGRATE_SIM_SEED"
"""Set to a number, the simulations run that one seed only."""


class Request(NamedTuple):
    """A Produce request for the one partition, on its way to one broker."""

    batch: Batch
    data: bytes
    broker: int
    evidence: int
    link: ProduceLink


class Answer(NamedTuple):
    """The broker's answer, and which disruptions had happened when it was made."""

    request: Request
    answer: AppendAnswer
    generation: int


class ProduceLink:
    """A copier's connection to the target: the broker handles one request at a time, in order.

    `earliest` holds when each request of a connection that ended can be handled at all.
    """

    def __init__(self, broker_id: int) -> None:
        self.broker = broker_id
        self.queue: deque[Request] = deque()
        self.waiting: tuple[Request, Appended, int, int, float] | None = None
        self.answers: deque[Answer] = deque()
        self.earliest: deque[float] = deque()
        self.waited = False

    @property
    def unanswered(self) -> int:
        return len(self.queue) + len(self.answers) + (self.waiting is not None)


class AskLink(LogLink):
    """An errand link of one copier: before each question anything may happen."""

    def __init__(self, world: World, driver: Driver, side: Side) -> None:
        super().__init__({TP: world.target if side is Side.TARGET else world.source})
        self._world = world
        self._driver = driver
        self._side = side

    def before(self, what: str) -> None:
        world = self._world
        world.happen()
        if world.faults and world.chance.random() < 0.01:
            raise ConnectionLost("an errand link broke", side=self._side)
        if self._side is Side.TARGET:
            self._driver.seen_generation = world.generation

    def error(self, what: str, partition: TopicPartition) -> int:
        world, driver = self._world, self._driver
        if self._side is Side.TARGET:
            return 0 if driver.target_broker == world.target_broker else broker.NOT_LEADER_OR_FOLLOWER
        return 0 if driver.source_broker == world.source_broker else broker.NOT_LEADER_OR_FOLLOWER

    def served(self, partition: TopicPartition, part: FetchPart, served: Served) -> Served:
        driver = self._driver
        if driver.may_flip:
            flipped = self._world.maybe_flip(driver, served, tail=True)
            driver.flipped = driver.flipped or flipped is not served
            return flipped
        return served


class _Clock:
    """What an inquiry needs of the network."""

    def __init__(self, world: World, skew_ms: int) -> None:
        self._world = world
        self._skew_ms = skew_ms

    def connect(self, side: Side, address: object) -> Link:
        raise NotImplementedError

    def wait(self, links: Sequence[Link], timeout_seconds: float) -> Sequence[Link]:
        raise NotImplementedError

    def cpu_seconds(self) -> float:
        return 0.0

    def steady_seconds(self) -> float:
        return self._world.now

    def wall_ms(self) -> int:
        return self._world.wall_ms + self._skew_ms


class Driver:
    """One copier at work, with what a pipeline does for it."""

    def __init__(self, world: World, *, fresh: bool, remembered: Remembered | None) -> None:
        self.world = world
        self.remembered = remembered
        self.fresh = fresh
        self.source_broker, self.target_broker = world.source_broker, world.target_broker
        self.order = self._order(0)
        self.copier = Copier(self.order, OURS, GUARDED_MS, Room(1 << 20))
        skew_ms = world.chance.randrange(-3_600_000, 3_600_000)
        self.clock = _Clock(world, skew_ms if world.retention_ms is None else 0)  # the time of one is another one's
        self.inquiry = Inquiry(self.clock, OURS, GUARDED_MS, (WINDOW - 1) * APPEND_TIMEOUT_SECONDS)
        self.link = ProduceLink(self.target_broker)
        self.fetching: tuple[int, Served | None] | None = None
        self.fetched_ms = -1
        self.buffer = bytearray(1 << 16)
        self.ask_at = 0.0
        self.paused = False
        self.asking = self.flipped = self.may_flip = False
        self.seen_generation = self.evidence = 0
        self.sent_under: Counter[int] = Counter()

    def _order(self, revision: int) -> PartitionOrder:
        world = self.world
        return PartitionOrder(
            partition=TP,
            source_topic_id=TopicId(world.source.topic_id),
            source_epoch=LeaderEpoch(world.source.leader_epoch),
            target_topic_id=TopicId(world.target.topic_id),
            target_epoch=LeaderEpoch(world.target.leader_epoch),
            remembered=self.remembered,
            fresh=self.fresh,
            revision=revision,
            delete_retention_ms=world.retention_ms,
            own_from=world.own_from,
        )

    # ── what a pipeline does ──────────────────────────────────────────────────────────────────────────────────

    def learn(self) -> bool:
        """Adopts the owner's newest order; False if the partition goes to another pipeline instead."""
        world = self.world
        if (self.source_broker, self.target_broker) != (world.source_broker, world.target_broker):
            return False
        order = self._order(0)
        if order != self.order:
            self.order = order
            self.fetching = None
            self.copier.on_order(order)
        return True

    def lose_target(self, reason: str) -> None:
        self.world.cut(self.link)
        self.link = ProduceLink(self.target_broker)
        self.inquiry.on_lost()
        self.copier.on_lost(reason)

    def lose_source(self, reason: str) -> None:
        self.fetching = None
        self.copier.on_doubt(reason)

    def ask(self) -> None:
        """Collects a standing, if one is wanted now."""
        world, copier = self.world, self.copier
        if world.now < self.ask_at or self.asking or not copier.wants_standing():
            return
        question = Question(
            partition=TP,
            source_topic_id=TopicId(self.order.source_topic_id or ""),
            target_topic_id=TopicId(self.order.target_topic_id or ""),
            source_epoch=self.order.source_epoch,
            target_epoch=self.order.target_epoch,
            quiet=copier.quiet,
            runs=copier.course.runs,
            own_from=self.order.own_from,
        )
        self.asking = True
        self.may_flip = not self.flipped  # never twice in a row: then it would be believed
        world.seen["standings asked"] += 1
        try:
            finding = self.inquiry.ask(
                AskLink(world, self, Side.SOURCE), AskLink(world, self, Side.TARGET), [question]
            )[TP]
        except ClusterError as error:
            self.ask_at = world.now + 0.1
            if error.side is Side.TARGET:
                self.lose_target(str(error))
            else:
                self.lose_source(str(error))
            return
        finally:
            self.asking = False
        self.flipped = self.flipped and self.may_flip
        if isinstance(finding, Unclear):
            world.seen["waits for a quiet end"] += "stand still" in finding.reason
            copier.on_unclear(finding.reason)
            self.ask_at = world.now + 0.2
        elif isinstance(finding, Denied):
            copier.on_denied(finding.evidence)
        else:
            self.evidence = self.seen_generation
            copier.on_standing(finding)

    def send(self) -> None:
        """Sends what may be sent, up to the requests that a connection carries."""
        world, copier = self.world, self.copier
        copier.feed_filler(self.clock.wall_ms())
        while self.link.unanswered < 5 and copier.can_append(self.clock.wall_ms()):
            stopped = copier.stop
            batch = copier.take_append()
            if stopped is not None or len(copier.in_flight) > WINDOW:
                raise BrokenLawError(f"sent although stopped ({stopped}) or beyond the window")
            self.sent_under[self.evidence] += 1
            world.sends += 1
            self.link.queue.append(Request(batch, bytes(batch.view), self.link.broker, self.evidence, self.link))
            if world.chance.random() < 0.2:
                break

    def believe(self) -> None:
        """Reads one answer of the target."""
        if self.link.answers:
            request, answer, generation = self.link.answers.popleft()
            if not answer.error:
                self.evidence = max(self.evidence, generation)
            self.copier.on_appended(request.batch, answer)

    def fetch(self) -> None:
        """Asks the source, if nothing is asked and something is wanted; the answer is made later, or now."""
        wish = None if self.paused else self.copier.fetch_wish()
        if self.fetching is None and wish is not None:
            self.fetched_ms = self.world.wall_ms
            self.fetching = wish[0], self.world.serve_fetch(self, *wish)

    def walk(self) -> None:
        """Reads the fetch answer, once the buffer is free."""
        if self.fetching is None or self.copier.pending:
            return
        (asked, served), self.fetching = self.fetching, None
        assert served is not None
        data = served.data
        self.buffer[:] = bytes(len(self.buffer))
        self.buffer[7 : 7 + len(data)] = data
        fetched = FetchedPartition(
            b"",
            0,
            served.error,
            served.high_watermark,
            served.last_stable_offset,
            served.log_start,
            served.diverging,
            7,
            7 + len(data),
            served.aborted or (),
        )
        self.copier.on_fetched(fetched, asked, memoryview(self.buffer), self.clock.wall_ms(), asked_ms=self.fetched_ms)
        if self.copier.pending and self.copier.pending[0].base == asked:
            self.world.check_taken_in(asked, served.high_watermark, self.fetched_ms)

    def patrol(self) -> None:
        """Looks whether an idle partition's end is where it was left."""
        copier, world = self.copier, self.world
        if copier.phase is Phase.COPYING and not copier.in_flight and self.target_broker == world.target_broker:
            error, offset = world.target.latest()
            if error or offset != copier.position:
                copier.on_doubt("the target's log end is not where it was left")

    def trim(self) -> None:
        """Moves the target's log start, if that is due."""
        copier, world = self.copier, self.world
        if copier.wants_trim(world.now) and self.target_broker == world.target_broker:
            world.target.delete_records(copier.take_trim())
            copier.on_trimmed(LogStart(0, Offset(world.target.log_start)), world.now)

    def progress(self) -> PartitionProgress:
        return self.copier.progress(paused=self.paused, hindrance="")

    def turn(self) -> None:
        """Everything once, in the pipeline's order."""
        self.ask()
        self.patrol()
        self.trim()
        self.send()
        self.fetch()
        self.believe()
        self.walk()


class World:
    """One run."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = random.Random(seed)
        self.seed = seed
        self.now = 100.0
        self.source = PartitionLog(self._topic_id(), expiration_ms=EXPIRATION_MS)
        self.target = PartitionLog(self._topic_id(), expiration_ms=EXPIRATION_MS)
        self.source_broker = self.target_broker = 1
        self.age = chance.choice(["recent", "recent", "old", "mixed"])
        self.disaster = chance.choice([None] * 14 + list(DISASTERS))
        self.retention_ms = None if self.disaster or seed % 4 else 90_000
        self.first_append_ms = -1
        self.cleanable_ms: dict[int, int] = {}
        self.several = self.age == "recent" and chance.random() < 0.4 and self.disaster != "source_trimmed"
        self.ledger = Ledger()
        self.drivers: list[Driver] = []
        self.orphans: list[ProduceLink] = []
        self.remembered: Remembered | None = None
        self.own_from: Offset | None = None
        self.generation = 0
        self.flips: Counter[int] = Counter()
        self.faults = True
        self.inside = False
        self.sends = self.written = 0
        self.struck = False
        self.must_stop: Copier | None = None
        self.tolerated: Counter[tuple[ProduceLink, int]] = Counter()
        self.seen: Counter[str] = Counter()

    def _topic_id(self) -> str:
        return f"{self.chance.getrandbits(128):032x}"

    @property
    def wall_ms(self) -> int:
        return START_MS + int(self.now * 1000)

    # ── a run ─────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Faults and work in disorder, then calm, then the end is judged."""
        chance = self.chance
        for _ in range(chance.choice([0, 3, 12, 40])):
            self.write()
        if self.seed % 8 == 5:
            self.turn_round()
        self.drivers.append(Driver(self, fresh=True, remembered=self.remembered))
        steps = chance.randrange(30, 200)
        strike_at = chance.randrange(steps) if self.disaster else -1
        for step in range(steps):
            if step == strike_at:
                self.strike()
            self.step()
        self.calm()
        self.judge_end()

    def turn_round(self) -> None:
        """The target holds all that the source does, under the ids of those who wrote it."""
        for stored in self.source.batches:
            self.target.write(stored.data)
        self.own_from = Offset(self.target.end)
        ids = TopicId(self.source.topic_id), TopicId(self.target.topic_id)
        self.remembered = Remembered(*ids, UNKNOWN_EPOCH, self.own_from)

    def step(self) -> None:
        """One thing happens."""
        chance = self.chance
        pick = chance.random()
        if pick < 0.6 and self.drivers:
            self.work(chance.choice(self.drivers))
        elif pick < 0.72:
            self.serve(chance.choice(self.drivers).link)
        elif pick < 0.8:
            self.write()
        elif pick < 0.88:
            self.advance(chance.random() * 0.4)
        else:
            self.fault()

    def work(self, driver: Driver) -> None:
        chance = self.chance
        if driver.asking:
            return
        for act in (driver.ask, driver.trim, driver.send, driver.fetch, driver.walk, driver.believe):
            if chance.random() < 0.7:
                act()
                if act == driver.send and chance.random() < 0.6:
                    self.serve(driver.link)
        if chance.random() < 0.03:
            driver.patrol()

    def happen(self) -> None:
        """Something may happen between two questions of a standing."""
        if self.inside:
            return
        self.advance(self.chance.random() * 0.05)
        if self.faults and self.chance.random() < 0.1:
            self.inside = True
            self.step()
            self.inside = False

    def calm(self) -> None:
        """No more faults: everything that is not stopped comes to its end within a bounded number of rounds."""
        self.faults = False
        self.source.thaw()
        self.target.thaw()
        for driver in self.drivers:
            driver.paused = False
        for _ in range(CALM_ROUNDS):
            for place, driver in enumerate(self.drivers):
                if not driver.learn():
                    self.hand_over(place)
            for driver in self.drivers:
                driver.turn()
                for _ in range(driver.link.unanswered):
                    self.serve(driver.link)
                while driver.link.answers:
                    driver.believe()
            self.advance(2.0)
            if not self.orphans and all(self._settled(driver) for driver in self.drivers):
                return
        states = [(d.copier.phase, d.copier.reason, d.copier.position, d.copier.stop) for d in self.drivers]
        raise BrokenLawError(f"not finished: {states}, source ends at {self.source.end}, target at {self.target.end}")

    def _settled(self, driver: Driver) -> bool:
        copier = driver.copier
        if copier.stop is not None:
            return not copier.in_flight
        return (
            copier.phase is Phase.COPYING
            and copier.position == self.source.end == self.target.end
            and driver.progress().state is PartitionState.IN_SYNC
        )

    # ── the source ────────────────────────────────────────────────────────────────────────────────────────────

    def timestamp(self) -> int:
        chance, age = self.chance, self.age
        if age == "mixed":
            age = chance.choice(["recent", "old"])
        if age == "recent":
            return self.wall_ms + chance.randrange(-600_000, 600_000)
        return self.wall_ms - 30 * DAY_MS + chance.randrange(600_000) if chance.random() < 0.95 else -1

    def write(self) -> None:
        """An application appends a batch to the source."""
        chance = self.chance
        self.written += 1
        tag = self.written.to_bytes(3, "big")
        records = [Record(self.timestamp(), None, tag) for _ in range(chance.choice([1, 1, 2, 3, 8]))]
        stored = self.source.write(
            make_batch(records, producer_id=chance.choice([-1, 7]), attributes=chance.choice([0, 0, 0x40]))
        )
        self.ledger.wrote(stored)

    def note_cleanable(self) -> None:
        """From now on the cleaner may come to what is below the high watermark; never to what is above it."""
        for batch in self.source.batches:
            if batch.next <= self.source.high_watermark:
                self.cleanable_ms.setdefault(batch.base, self.wall_ms)

    def check_taken_in(self, start: int, end: int, read_ms: int) -> None:
        """Every tombstone up to `end` was still there when the source was read, or deletes nothing that was copied."""
        if self.retention_ms is None or self.target.end == self.target.log_start:
            return  # onto an empty target, also one that an election emptied, no key can rise from the dead
        oldest = min((at for base, at in self.cleanable_ms.items() if start <= base < end), default=read_ms)
        if read_ms - max(oldest, self.first_append_ms) > self.retention_ms:
            raise BrokenLawError(f"tombstones from {start} on may have been gone when they were read")
        self.seen["read in time"] += 1

    def serve_fetch(self, driver: Driver, offset: int, last_epoch: int) -> Served:
        chance = self.chance
        if driver.source_broker != self.source_broker:
            return Served(6, -1, -1, None, b"")
        if driver.order.source_topic_id != self.source.topic_id:
            return Served(100, -1, -1, None, b"")
        if self.faults and chance.random() < 0.02:
            return Served(chance.choice([3, 6, 56, 74, 75, 78, -1]), -1, -1, None, b"")
        size = chance.choice([1, 80, 200, 1000, 1 << 15])
        served = self.source.fetch(
            offset,
            driver.order.source_epoch,
            last_epoch,
            size,
            first=chance.random() < 0.9,
            isolation_level=broker.READ_COMMITTED,
        )
        return self.maybe_flip(driver, served, tail=False)

    def maybe_flip(self, driver: Driver, served: Served, *, tail: bool) -> Served:
        """Now and then a bit is not what the broker sent."""
        chance = self.chance
        if not self.faults or not served.data or chance.random() > 0.02:
            return served
        at = chance.randrange(len(served.data))
        place, starts = 0, []
        while place < len(served.data):
            starts.append(place)
            place += 12 + int.from_bytes(served.data[place + 8 : place + 12], "big")
        start = max(each for each in starts if each <= at)
        if 12 <= at - start < 16 and tail:
            return served  # the epoch of a compared batch is taken as it comes
        data = bytearray(served.data)
        data[at] ^= 1 << chance.randrange(8)
        end = min(each for each in (*starts, len(data)) if each > at)
        if at - start > MAGIC_AT and data[start + MAGIC_AT] == 2 and crc_holds(data[start:end]):
            return served  # it undoes what lies damaged on the source: then nothing is
        if not tail:
            self.flips[int.from_bytes(served.data[start : start + 8], "big")] += 1
        return served._replace(data=bytes(data))

    # ── the target ────────────────────────────────────────────────────────────────────────────────────────────

    def serve(self, link: ProduceLink) -> None:
        """The broker takes its next step for one connection."""
        target = self.target
        if link.waiting is not None:
            request, appended, epoch, generation, deadline = link.waiting
            if epoch != target.leader_epoch:
                code = broker.NOT_LEADER_OR_FOLLOWER
            elif target.high_watermark >= appended.next:
                code = 0
            elif self.now >= deadline:
                code = broker.REQUEST_TIMED_OUT
            else:
                return
            link.waiting = None
            self._answer(link, request, code, appended.base, generation)
        elif link.queue:
            request = link.queue.popleft()
            appended = self.handle(request)
            generation = request.evidence if appended.duplicate else self.generation  # a repeat tells nothing new
            if not appended.error and target.high_watermark < appended.next:
                deadline = self.now + APPEND_TIMEOUT_SECONDS
                link.waiting = request, appended, target.leader_epoch, generation, deadline
            else:
                self._answer(link, request, appended.error, appended.base, generation)

    def _answer(self, link: ProduceLink, request: Request, code: int, base: int, generation: int) -> None:
        link.answers.append(Answer(request, AppendAnswer(code, -1 if code else base, ""), generation))

    def handle(self, request: Request) -> Appended:
        """What becomes of one request, with injected errors before and after the append."""
        chance = self.chance
        if request.broker != self.target_broker:
            return Appended(broker.NOT_LEADER_OR_FOLLOWER, -1, -1, False)
        after_append = 0
        if self.faults and chance.random() < 0.03:
            code = chance.choice([3, 19, 6, 56, 7, 20, -1])
            if code in (3, 19) or (code in (6, 56, -1) and chance.random() < 0.5):
                return Appended(code, -1, -1, False)
            after_append = code
        before = self.target.end
        self.seen["appends to an unknown id"] += before > 0 and OURS not in self.target.producers
        appended = self.target.append(request.data, self.wall_ms)
        self.seen["duplicates"] += appended.duplicate
        self.seen["refused sequences"] += appended.error == broker.OUT_OF_ORDER_SEQUENCE_NUMBER
        if appended.error in (broker.INVALID_RECORD, broker.CORRUPT_MESSAGE, broker.INVALID_TIMESTAMP, 53):
            raise BrokenLawError(f"a batch that no broker takes: {appended}")
        if not appended.error and self.target.end > before:
            self.seen["appends"] += 1
            self.seen["appends behind what others wrote"] += bool(self.own_from)
            if before == self.target.log_start:
                self.first_append_ms = self.wall_ms  # the first of them all
            self.check_appended(request)
        return appended._replace(error=after_append or appended.error)

    def check_appended(self, request: Request) -> None:
        """The newest batch of the target is the source's, and follows there what it follows here."""
        where = self.ledger.misplaced(self.target.batches)
        if where is None:
            return
        if request.evidence >= self.generation:
            raise BrokenLawError(f"{where}, sent by a copier that knew the target as it is")
        key = request.link, self.generation
        self.tolerated[key] += 1
        if self.tolerated[key] > WINDOW:
            raise BrokenLawError(f"{where}: more than one window of a connection after a disruption")
        self.seen["misplaced in flight"] += 1

    def cut(self, link: ProduceLink) -> None:
        """The connection ends: what lies in the broker's queue is gone, or handled later, one after the other."""
        chance = self.chance
        kept = [request for request in link.queue if chance.random() < 0.7]
        link.queue = deque(kept)
        link.earliest = deque(sorted(self.now + chance.random() * LATEST_ARRIVAL_SECONDS for _ in kept))
        link.answers.clear()
        self.orphans.append(link)

    def advance(self, seconds: float) -> None:
        """Time passes; what connections left behind is handled when its turn comes."""
        self.note_cleanable()
        until = self.now + seconds
        while True:
            self.orphans = [link for link in self.orphans if link.queue]
            due = [(at, place) for place, link in enumerate(self.orphans) if (at := self._next_step(link)) <= until]
            if not due:
                break
            at, place = min(due)
            self.now = max(self.now, at)
            link, before = self.orphans[place], self.target.end
            handles = link.waiting is None
            self.serve(link)
            link.answers.clear()
            if handles:
                link.earliest.popleft()
                self.seen["late requests"] += 1
                self.seen["late appends"] += self.target.end > before
                self.seen["very late appends"] += self.target.end > before and link.waited
            if self.chance.random() < 0.2:
                self.target.expire(self.wall_ms)
        self.now = until

    def _next_step(self, link: ProduceLink) -> float:
        """When a connection without a client takes its next step."""
        if link.waiting is None:
            return link.earliest[0]
        _, appended, epoch, _, deadline = link.waiting
        link.waited = True
        if epoch != self.target.leader_epoch or self.target.high_watermark >= appended.next:
            return self.now
        return deadline

    # ── faults that must not stop anything ────────────────────────────────────────────────────────────────────

    def fault(self) -> None:
        chance = self.chance
        place = chance.randrange(len(self.drivers))
        driver = self.drivers[place]
        if driver.asking:
            return
        pick = chance.randrange(18)
        if pick <= 2:
            driver.lose_target("cut")
        elif pick == 3:
            driver.lose_source("cut")
        elif pick == 4:
            self.elect_target()
        elif pick == 5:
            self.restart_target()
        elif pick == 6:
            self.source.elect(self.source.end, high_watermark=self.source.end, now_ms=self.wall_ms, drop_expired=False)
            if chance.random() < 0.5:
                self.source_broker = 3 - self.source_broker
        elif pick == 7:
            self.target.freeze()
        elif pick == 8:
            self.target.thaw()
        elif pick == 9:
            (self.source.freeze if chance.random() < 0.5 else self.source.thaw)()
        elif pick == 10:
            driver.paused = not driver.paused
        elif pick == 11:
            driver.copier.release()
        elif pick == 12:
            self.crash(place)
        elif pick == 13 and self.several and len(self.drivers) < 2:
            self.drivers.append(Driver(self, fresh=chance.random() < 0.3, remembered=self._memory()))
        elif pick == 14:
            if not driver.learn():
                self.hand_over(place)
        elif pick == 15:
            self.target.expire(self.wall_ms)
        elif pick == 16:
            self.advance(chance.choice([1.0, 4.0, 30.0, 700.0]))
            self.target.expire(self.wall_ms)
        else:
            self.remember(driver)

    def remember(self, driver: Driver) -> None:
        """The owner notes what a copier reported."""
        seen = driver.progress()
        if seen.position >= 0 and seen.stop is None:
            self.remembered = Remembered(
                TopicId(driver.order.source_topic_id or ""),
                TopicId(driver.order.target_topic_id or ""),
                seen.source_epoch,
                seen.position,
                seen.even_ms,
                seen.retention_ms,
            )

    def _memory(self) -> Remembered | None:
        return self.remembered if self.chance.random() < 0.5 else None

    def crash(self, place: int) -> None:
        """A copier dies with all it knew; another one begins."""
        self.cut(self.drivers[place].link)
        self.drivers[place] = Driver(self, fresh=False, remembered=self._memory())

    def hand_over(self, place: int) -> None:
        """The partition goes to another pipeline; what the first one remembers goes with it."""
        driver = self.drivers[place]
        if driver.asking:
            return
        self.remember(driver)
        self.cut(driver.link)
        stop = driver.copier.stop
        self.drivers[place] = Driver(self, fresh=False, remembered=self.remembered)
        if stop is not None:
            self.drivers[place].copier.stop = stop
            self.drivers[place].copier.phase = Phase.STOPPED

    def elect_target(self) -> None:
        """A clean election on the target: nothing below the high watermark is lost, unacknowledged batches may be."""
        chance, target = self.chance, self.target
        ends = [batch.next for batch in target.batches if batch.next > target.committed]
        end = chance.choice([target.committed, *ends])
        heard = chance.choice([target.high_watermark, max(target.log_start, target.high_watermark - 5)])
        self.target.elect(end, high_watermark=heard, now_ms=self.wall_ms, drop_expired=chance.random() < 0.7)
        if chance.random() < 0.8:
            target.thaw()
        else:
            target.following = False
        if chance.random() < 0.5:
            self.target_broker = 3 - self.target_broker

    def restart_target(self) -> None:
        """The target's broker restarts: connections and what lay in its queue are gone."""
        for driver in self.drivers:
            if driver.target_broker == self.target_broker and not driver.asking:
                driver.link.queue.clear()
                driver.lose_target("the broker restarted")
        self.orphans = [link for link in self.orphans if link.broker != self.target_broker]
        self.target.restart(self.wall_ms, batches_each=self.chance.choice([1, 2, 5]))
        self.target.thaw()

    # ── disasters: after these, stopping is right ─────────────────────────────────────────────────────────────

    def strike(self) -> None:
        """The run's one disaster."""
        assert self.disaster is not None
        self.struck = True
        getattr(self, "strike_" + self.disaster)()

    def strike_foreign_write(self) -> None:
        for _ in range(self.chance.choice([1, 1, 2])):
            self.target.write(
                make_batch([Record(self.wall_ms, None, b"foreign")], producer_id=self.chance.choice([-1, 55]))
            )
        self.generation += 1

    def strike_target_unclean(self) -> None:
        ends = [self.target.log_start, *(batch.next for batch in self.target.batches)]
        self.target.elect(self.chance.choice(ends[-8:]), high_watermark=1 << 60, now_ms=self.wall_ms, drop_expired=True)
        self._lost_acknowledged()

    def strike_target_recreated(self) -> None:
        self.target.recreate(self._topic_id())
        self._lost_acknowledged()

    def _lost_acknowledged(self) -> None:
        """A copier that lives on and is alone must see that what was acknowledged to it is gone."""
        self.generation += 1
        copier = self.drivers[0].copier
        if not self.several and not self.orphans and not copier.in_flight and copier.floor > self.target.end:
            self.must_stop = copier

    def strike_source_unclean(self) -> None:
        ends = [self.source.log_start, *(batch.next for batch in self.source.batches)]
        self.source.elect(self.chance.choice(ends[-8:]), high_watermark=1 << 60, now_ms=self.wall_ms, drop_expired=True)
        self.ledger.cut(self.source.batches)

    def strike_source_trimmed(self) -> None:
        self.source.delete_records(self.chance.randrange(self.source.end + 1))
        self.ledger.trimmed(self.source.log_start)

    def strike_source_recreated(self) -> None:
        self.source.recreate(self._topic_id())
        self.ledger.cut([])
        for _ in range(self.chance.choice([0, 2, 10])):
            self.write()

    def strike_source_corrupt(self) -> None:
        self.write()
        stored = self.source.batches[-1]
        data = bytearray(stored.data)
        data[self.chance.randrange(61, len(data))] ^= 1
        self.source.batches[-1] = stored._replace(data=bytes(data))
        self.bad_offset = stored.base

    def strike_source_special(self) -> None:
        """Something that nobody can copy: a newer format."""
        stored = self.source.write(seal(b"special", magic=3, last_offset_delta=1, record_count=2))
        self.bad_offset = stored.base

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────

    def judge_end(self) -> None:
        for driver in self.drivers:
            stop = driver.copier.stop
            self.seen["completed" if stop is None else stop.kind.value] += 1
            if stop is None:
                if driver.copier is self.must_stop:
                    raise BrokenLawError("nobody noticed that acknowledged records are gone")
                if self.target.end != self.source.end or not self.ledger.agree(self.source, self.target):
                    raise BrokenLawError("a copier believes in a log that is not the source's")
                if self.struck and self.disaster in BAD_BATCHES:
                    raise BrokenLawError(f"nothing stopped at {self.disaster}")
                continue
            allowed = DISASTERS[self.disaster] if self.struck and self.disaster else frozenset()
            bad = self.struck and self.disaster in BAD_BATCHES and stop.offset == self.bad_offset
            if stop.kind is StopKind.TOMBSTONES_MAY_BE_LOST and self.retention_ms is not None:
                continue
            twice_flipped = self.flips[stop.offset] + bad >= 2
            if stop.kind in allowed:
                if (
                    self.disaster in BAD_BATCHES
                    and not twice_flipped
                    and (stop.offset != self.bad_offset or self.target.end != self.bad_offset)
                ):
                    raise BrokenLawError(f"{stop}, but the bad batch lies at {self.bad_offset}")
                continue
            if twice_flipped and stop.kind in (StopKind.SOURCE_CORRUPT, StopKind.UNSUPPORTED):
                continue
            raise BrokenLawError(f"no reason for {stop}")


_LOST = frozenset({StopKind.TARGET_LOST, StopKind.SOURCE_TRUNCATED, StopKind.SOURCE_REPLACED})
DISASTERS: dict[str, frozenset[StopKind]] = {
    "foreign_write": frozenset({StopKind.FOREIGN_WRITE}),
    "target_unclean": _LOST,
    "target_recreated": _LOST,
    "source_unclean": frozenset({StopKind.SOURCE_TRUNCATED, StopKind.SOURCE_REPLACED}),
    "source_trimmed": frozenset({StopKind.GAP_LOST, StopKind.STATE_LOST}),
    "source_recreated": frozenset({StopKind.SOURCE_REPLACED, StopKind.SOURCE_TRUNCATED}),
    "source_corrupt": frozenset({StopKind.SOURCE_CORRUPT}),
    "source_special": frozenset({StopKind.UNSUPPORTED}),
}
"""Each disaster and the stops that may follow from it."""
BAD_BATCHES = ("source_corrupt", "source_special")
