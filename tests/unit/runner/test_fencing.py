"""A fence is put, watched and lifted, whoever dies at whatever step, and what was there before is there afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kmigrate.errors import KmigrateError, Refused
from kmigrate.kafka_types import Side, TopicName
from kmigrate.runner.fence_notice import read_fences
from kmigrate.runner.fence_watch import FenceWatch
from kmigrate.runner.fences import FenceOrder, confirm_fence, enter_fence, find_same, put_fence
from kmigrate.runner.fencing import Fencer, NoLongerWanted
from kmigrate.security.fence import EVERYONE, MIN_ISR, AclPiece, Fence, FenceKind, FencePhase, SettingPiece
from kmigrate.security.fence_plan import FencePlan
from kmigrate.state.fence_book import FenceBook
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType
from tests.unit.security.fence_cluster import CLUSTER_ID, REFUSED, WRITING, Clock, FenceCluster

ORDERS, PAY = TopicName("orders"), TopicName("pay")
PERIOD = 60.0


def deny(topic: str) -> Acl:
    return Acl(ResourceType.TOPIC, topic, PatternType.LITERAL, EVERYONE, "*", AclOperation.WRITE, Permission.DENY)


def allow_all(topic: str) -> Acl:
    return deny(topic)._replace(operation=AclOperation.ALL, permission=Permission.ALLOW)


@pytest.fixture(autouse=True)
def no_machine_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes do: what they wrote is there, whether or not it is on the disk."""
    monkeypatch.setattr("kmigrate.state.fence_book.os.fsync", lambda _fd: None)


READ = deny("orders")._replace(operation=AclOperation.READ, permission=Permission.ALLOW, principal="User:app")


class Killed(BaseException):
    """The process ends here."""


@dataclass
class World:
    """A cluster, a book, a clock, and processes that work on them."""

    folder: Path
    cluster: FenceCluster
    clock: Clock = field(default_factory=Clock)
    told: list[str] = field(default_factory=list)
    step: Callable[[str], None] = lambda _name: None

    def book(self) -> FenceBook:
        """As another process opens it."""
        return FenceBook(self.folder, now=self.clock.now, step=lambda name: self.step(name))

    def fencer(self, book: FenceBook) -> Fencer:
        return Fencer(self.cluster.client, book, monotonic_seconds=self.clock.monotonic, sleep=self.clock.sleep)

    def order(self, kind: FenceKind = FenceKind.ACL, topics: tuple[str, ...] = ("orders",)) -> FenceOrder:
        return FenceOrder(
            side=Side.SOURCE,
            kind=kind,
            topics=tuple(map(TopicName, topics)),
            principals=(EVERYONE,),
            cluster_id=CLUSTER_ID,
            bootstrap="b:9092",
            is_secured=False,
            period_seconds=PERIOD,
        )

    def plan(self, order: FenceOrder) -> FencePlan:
        """As `plan_fence` makes it of what is there now."""
        if order.kind is FenceKind.ACL:
            wanted = [make(topic) for topic in order.topics for make in (allow_all, deny)]
            return FencePlan(acls=tuple(AclPiece(each, each in self.cluster.rules) for each in wanted))
        own = {topic: self.cluster.topics[topic].get(MIN_ISR) for topic in order.topics}
        return FencePlan(settings=tuple(SettingPiece(topic, own[topic], "1003") for topic in order.topics))

    def put(self, order: FenceOrder) -> Fence:
        book = self.book()
        entered = enter_fence(book, order, FencePlan() if find_same(book, order) else self.plan(order))
        return self.fencer(book).put(entered.number)

    def watch(self) -> FenceWatch:
        return FenceWatch(
            self.book(),
            {Side.SOURCE: lambda: self.cluster.client},
            tell=self.told.append,
            sleep=self.clock.sleep,
            fencer=lambda client, book: self.fencer(book),
        )

    def state(self) -> tuple[frozenset[Acl], dict[str, dict[str, str]]]:
        return frozenset(self.cluster.rules), {name: dict(own) for name, own in self.cluster.topics.items()}


def world(folder: Path, **given: Any) -> World:
    topics = {"orders": "2", "pay": None}
    return World(folder, FenceCluster(topics, {READ}, **given))


# -- one thing after the other ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(FenceKind))
def test_it_is_put_and_lifted_and_everything_is_as_it_was(tmp_path: Path, kind: FenceKind) -> None:
    it = world(tmp_path, lag=3)
    before = it.state()
    fence = it.put(it.order(kind, ("orders", "pay")))
    assert (fence.phase, fence.stood) == (FencePhase.STANDING, True)
    assert it.state() != before
    if kind is FenceKind.ACL:
        assert it.cluster.rules == {READ, deny("orders"), deny("pay"), allow_all("orders"), allow_all("pay")}
    else:
        assert it.cluster.topics == {"orders": {MIN_ISR: "1003"}, "pay": {MIN_ISR: "1003"}}
    lifted = it.fencer(it.book()).lift(fence.number, "enough")
    assert (lifted.phase, lifted.left) == (FencePhase.LIFTED, ())
    assert it.state() == before
    assert it.fencer(it.book()).lift(fence.number, "twice").phase is FencePhase.LIFTED


def test_it_stands_once_every_broker_shows_it(tmp_path: Path) -> None:
    it = world(tmp_path, brokers=3, lag=4)
    fence = it.put(it.order())
    assert it.fencer(it.book()).is_whole(fence)
    slow = world(tmp_path / "slow", lag=10_000)
    with pytest.raises(KmigrateError, match="not shown by brokers 1, 2 after 30 s"):
        slow.put(slow.order())
    assert slow.book().standing()[0].phase is FencePhase.PUTTING, "it may be there: it stays to be lifted"


def test_an_equal_rule_from_before_stays(tmp_path: Path) -> None:
    it = world(tmp_path)
    it.cluster.rules.add(deny("orders"))
    before = it.state()
    fence = it.put(it.order())
    it.fencer(it.book()).lift(fence.number, "enough")
    assert it.state() == before


def test_what_somebody_changed_meanwhile_is_left_and_told(tmp_path: Path) -> None:
    it = world(tmp_path)
    fence = it.put(it.order(FenceKind.MIN_ISR, ("orders", "pay")))
    it.cluster.topics["orders"][MIN_ISR] = "1"
    lifted = it.fencer(it.book()).lift(fence.number, "enough")
    assert lifted.left == ("topic orders has min.insync.replicas=1, which somebody else set",)
    assert it.cluster.topics == {"orders": {MIN_ISR: "1"}, "pay": {}}


def test_a_topic_that_is_gone_holds_nothing_up(tmp_path: Path) -> None:
    it = world(tmp_path)
    fence = it.put(it.order(FenceKind.MIN_ISR, ("orders", "pay")))
    del it.cluster.topics["pay"]
    assert it.fencer(it.book()).lift(fence.number, "enough").phase is FencePhase.LIFTED
    assert it.cluster.topics == {"orders": {MIN_ISR: "2"}}


def test_a_setting_that_somebody_changed_is_not_put_over(tmp_path: Path) -> None:
    it = world(tmp_path)
    book, order = it.book(), it.order(FenceKind.MIN_ISR)
    fence = enter_fence(book, order, it.plan(order))
    it.cluster.topics["orders"][MIN_ISR] = "1"
    with pytest.raises(Refused, match="which somebody else set"):
        it.fencer(book).put(fence.number)
    assert it.cluster.topics["orders"] == {MIN_ISR: "1"}
    assert book.standing() == [], "what never stood is taken back"


def test_a_fence_that_stood_is_not_lifted_because_it_cannot_be_mended(tmp_path: Path) -> None:
    it = world(tmp_path)
    order = it.order(FenceKind.MIN_ISR, ("orders", "pay"))
    it.put(order)
    it.cluster.topics["orders"][MIN_ISR] = "1"
    with pytest.raises(Refused, match="which somebody else set"):
        it.put(order)
    assert [each.phase for each in it.book().standing()] == [FencePhase.STANDING]


def test_a_refusal_of_the_cluster_is_told(tmp_path: Path) -> None:
    it = world(tmp_path)
    it.cluster.refuses_rules = REFUSED
    with pytest.raises(Refused, match=r"topic orders, allow User:\* ALL: CLUSTER_AUTHORIZATION_FAILED"):
        it.put(it.order())
    assert it.book().fence(1).phase is FencePhase.LIFTING, "nothing is known to be gone"
    with pytest.raises(Refused, match="could not be lifted"):
        it.fencer(it.book()).lift(1, "enough")
    assert it.book().fence(1).phase is FencePhase.LIFTING


def test_the_same_again_confirms_it_and_mends_it(tmp_path: Path) -> None:
    it = world(tmp_path)
    first = it.put(it.order())
    it.clock.sleep(PERIOD - 10)
    it.cluster.rules.discard(deny("orders"))
    again = it.put(it.order())
    assert (again.number, deny("orders") in it.cluster.rules) == (first.number, True)
    assert again.seconds_left(it.clock.now()) > PERIOD - 5
    assert it.fencer(it.book()).lift(1, "enough").left == ()
    assert it.cluster.rules == {READ}, "what was there before counts as it was before the first"


def test_another_fence_around_the_same_topics_is_refused(tmp_path: Path) -> None:
    it = world(tmp_path)
    it.put(it.order())
    with pytest.raises(Refused, match="fence 1") as refused:
        it.put(it.order(FenceKind.MIN_ISR, ("orders", "pay")))
    assert refused.value.hint == "kmigrate fence lift -f FILE --number 1"
    assert it.put(it.order(FenceKind.MIN_ISR, ("pay",))).number == 2


def test_a_fence_whose_deadline_passed_is_not_confirmed(tmp_path: Path) -> None:
    it = world(tmp_path)
    it.put(it.order())
    assert confirm_fence(it.book(), 1)
    it.clock.sleep(PERIOD)
    assert not confirm_fence(it.book(), 1)
    with pytest.raises(Refused, match="the deadline of fence 1 has passed"):
        it.put(it.order())


def test_a_putting_that_takes_too_long_takes_it_all_back(tmp_path: Path) -> None:
    it = world(tmp_path)
    before = it.state()
    it.cluster.step = lambda name: it.clock.sleep(PERIOD) if name == "altered" else None
    with pytest.raises(NoLongerWanted):
        it.put(it.order(topics=("orders", "pay")))
    assert it.state() == before
    assert it.book().fence(1).phase is FencePhase.LIFTED


def test_without_a_watcher_nothing_is_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = world(tmp_path)
    book, order = it.book(), it.order()
    monkeypatch.setattr("kmigrate.runner.fencing.time.sleep", it.clock.sleep)

    def fail() -> None:
        raise KmigrateError("no watcher")

    with pytest.raises(KmigrateError, match="no watcher"):
        put_fence(book, it.cluster.client, enter_fence(book, order, it.plan(order)), fail)
    assert it.cluster.rules == {READ}
    assert book.standing() == []


def test_log_ends_that_still_move_are_named(tmp_path: Path) -> None:
    it = world(tmp_path)
    assert it.fencer(it.book()).watch_ends((ORDERS, PAY)).growing == ()
    (moving, _still) = sorted(it.cluster.ends)
    it.cluster.growing.add(moving)
    assert it.fencer(it.book()).watch_ends((ORDERS, PAY)).growing == (moving,)


# -- the watcher ------------------------------------------------------------------------------------------------------


def test_the_watcher_lifts_what_nobody_confirms_and_ends(tmp_path: Path) -> None:
    it = world(tmp_path)
    before = it.state()
    it.put(it.order())
    began = it.clock.seconds
    it.watch().run()
    assert it.state() == before
    assert PERIOD <= it.clock.seconds - began < PERIOD + 5
    assert it.told == ["watching", "fence 1 is lifted", "nothing is left to lift"]
    assert it.book().fence(1).events[-2].what == "is to be lifted: nobody confirmed it for 60 s"


def test_the_watcher_waits_while_somebody_confirms(tmp_path: Path) -> None:
    it = world(tmp_path)
    it.put(it.order())
    stops = it.clock.seconds + 10 * PERIOD

    def confirm() -> None:
        if it.clock.seconds < stops:
            confirm_fence(it.book(), 1)

    it.clock.on_pass = confirm
    it.watch().run()
    assert stops + PERIOD <= it.clock.seconds < stops + PERIOD + 5


def test_the_watcher_tries_on_until_it_is_lifted(tmp_path: Path) -> None:
    it = world(tmp_path)
    it.put(it.order())
    it.cluster.refuses_rules = REFUSED

    def mend() -> None:
        if it.clock.seconds > 1000 + 40 * PERIOD:
            it.cluster.refuses_rules = 0

    it.clock.on_pass = mend
    it.watch().run()
    assert it.cluster.rules == {READ}
    assert len(it.told) == 4, "a failure is told once"


def test_a_wrong_cluster_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = world(tmp_path)
    it.put(it.order())
    it.clock.sleep(PERIOD)
    monkeypatch.setattr("tests.unit.security.fence_cluster.CLUSTER_ID", "another")
    it.cluster.step = lambda name: pytest.fail(name) if name == "alter" else None
    assert it.watch().turn() is not None
    assert "the source cluster is another" in it.told[0]


def test_two_watchers_do_no_harm(tmp_path: Path) -> None:
    it = world(tmp_path)
    before = it.state()
    it.put(it.order(topics=("orders", "pay")))
    other = it.watch()
    turns = iter(range(10_000))

    def interleave(name: str) -> None:
        if name in ("describe rules", "alter") and next(turns) % 3 == 0:
            it.cluster.step = lambda _name: None
            other.turn()
            it.cluster.step = interleave

    it.cluster.step = interleave
    it.watch().run()
    assert it.state() == before


def test_a_folder_tells_whether_anybody_watches(tmp_path: Path) -> None:
    it = world(tmp_path)
    assert read_fences(tmp_path) == ()
    it.put(it.order())
    book = it.book()
    assert not book.is_watched()
    with book.watching() as end, book.watching():
        assert book.is_watched()
        end()
        assert it.book().is_watched()
    assert not book.is_watched()
    assert [each.is_watched for each in read_fences(tmp_path)] == [False]


def arrives_late(it: World, seconds: int) -> None:
    """A request of the dead to deny `orders` reaches the cluster so much later."""
    arrives = it.clock.seconds + seconds

    def arrive() -> None:
        if arrives <= it.clock.seconds < arrives + 6:
            it.cluster.rules.add(deny("orders"))

    it.clock.on_pass = arrive


def test_a_request_of_the_dead_that_arrives_after_the_lift_is_taken_away(tmp_path: Path) -> None:
    it = world(tmp_path)
    book, order = it.book(), it.order()
    cut_short = enter_fence(book, order, it.plan(order))
    it.fencer(book).lift(cut_short.number, "enough")
    with pytest.raises(Refused, match="a request of it may still arrive"):
        it.put(order)
    arrives_late(it, 40)
    it.watch().run()
    assert it.cluster.rules == {READ}
    assert it.put(order).number == 2


def test_a_putting_that_was_cut_short_is_not_forgotten_because_another_one_made_it_stand(tmp_path: Path) -> None:
    it = world(tmp_path)
    book, order = it.book(), it.order()
    fence = enter_fence(book, order, it.plan(order))
    book.change(fence.number, lambda known: known.begin_putting(book.now()))  # and then it died, with a request sent
    assert it.put(order).stood
    it.fencer(book).lift(fence.number, "enough")
    with pytest.raises(Refused, match="a request of it may still arrive"):
        it.put(order)
    arrives_late(it, 20)
    it.watch().run()
    assert it.cluster.rules == {READ}


def test_a_fence_that_was_put_at_the_first_try_may_be_put_again_at_once(tmp_path: Path) -> None:
    it = world(tmp_path)
    order = it.order()
    first = it.put(order)
    it.fencer(it.book()).lift(first.number, "enough")
    assert it.put(order).number == first.number + 1


# -- whatever dies, wherever ------------------------------------------------------------------------------------------


class Walk:
    """Random processes work on one fence: each is killed at a random step, and may leave a request on its way."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.chance = chance
        equal = {deny("orders")} if chance.random() < 0.3 else set()
        self.it = World(folder, FenceCluster({"orders": "2", "pay": None}, {READ, *equal}, lag=chance.choice((0, 2))))
        self.before = self.it.state()
        self.kind = chance.choice(list(FenceKind))
        self.late: list[tuple[float, Any]] = []
        self.killed_in = -1
        self.it.step = self.step
        self.it.cluster.step = self.step
        self._controller = self.it.cluster.controller
        self.it.cluster.controller = self.controller  # type: ignore[method-assign]
        self.it.clock.on_pass = self.arrive

    def step(self, name: str) -> None:
        if self.killed_in == 0:
            self.killed_in = -1
            raise Killed
        self.killed_in -= self.killed_in > 0
        self.check()

    def controller(self, call: Any) -> Any:
        assert call.what in WRITING
        if self.killed_in == 0 and self.chance.random() < 0.5:
            self.killed_in = -1
            self.late.append((self.it.clock.seconds + self.chance.uniform(0, 20), call))
            raise Killed
        return self._controller(call)

    def arrive(self) -> None:
        """Requests of the dead reach the cluster."""
        due = [call for at, call in self.late if at <= self.it.clock.seconds]
        self.late = [each for each in self.late if each[0] > self.it.clock.seconds]
        for call in due:
            kept, self.killed_in = self.killed_in, -1
            self._controller(call)
            self.killed_in = kept

    def check(self) -> None:
        """What is there beside what was there before is written down."""
        written = [piece for fence in self.it.book().fences() for piece in (*fence.acls, *fence.settings)]
        rules = {piece.acl for piece in written if isinstance(piece, AclPiece)}
        assert self.it.cluster.rules - self.before[0] <= rules
        changed = {topic for topic, own in self.it.cluster.topics.items() if own != self.before[1][topic]}
        assert changed <= {piece.topic for piece in written if isinstance(piece, SettingPiece)}

    def run(self, what: Callable[[], object]) -> None:
        """One process, that may be killed on its way."""
        self.killed_in = self.chance.choice((-1, self.chance.randrange(40)))
        try:
            what()
        except (Killed, KmigrateError):
            pass
        finally:
            self.killed_in = -1

    def put(self) -> None:
        self.it.put(self.it.order(self.kind, ("orders", "pay")))

    def lift(self) -> None:
        for fence in self.it.book().standing():
            self.it.fencer(self.it.book()).lift(fence.number, "command")

    def watch_a_while(self) -> None:
        watcher = self.it.watch()
        for _ in range(self.chance.randrange(1, 40)):
            pause = watcher.turn()
            if pause is None:
                return
            self.it.clock.sleep(pause)

    def wait(self) -> None:
        self.it.clock.sleep(self.chance.uniform(0, 1.5 * PERIOD))


@pytest.mark.parametrize("number", range(40))
def test_whoever_dies_the_last_watcher_leaves_everything_as_it_was(tmp_path: Path, seed: int, number: int) -> None:
    walk = Walk(tmp_path, random.Random(f"{seed}/{number}"))
    for _ in range(walk.chance.randrange(2, 10)):
        walk.run(walk.chance.choice((walk.put, walk.put, walk.lift, walk.watch_a_while, walk.wait)))
    walk.it.watch().run()
    walk.it.clock.sleep(30)  # what the dead had sent last arrives
    assert walk.late == []
    assert walk.it.state() == walk.before
    assert walk.it.book().standing() == []
