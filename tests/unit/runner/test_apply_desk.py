"""An owner looks and carries out for who asks: one at a time, and only what was shown last."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kmigrate.errors import KmigrateError, Refused, Superseded
from kmigrate.kafka_types import Side
from kmigrate.manifest import Manifest, Offsets, OffsetsClass, Selection, UserSection
from kmigrate.plan.actions import Kind, PlannedAction, Verb
from kmigrate.runner import apply as runner_apply
from kmigrate.runner.apply import OwnersApplying
from kmigrate.runner.apply_desk import PLANS, ROWS_A_PAGE, ApplyDesk, ApplyStage, ApplyStatus, ApplyWish
from kmigrate.runner.applying import Applied
from tests.unit.plan.known import CLUSTER

MANIFEST = Manifest(
    name="orders",
    source=CLUSTER,
    target=CLUSTER,
    topics=Selection(include=("orders",)),
    offsets=Offsets(topics={"o.*": OffsetsClass.MAPPED}),
    replication_factor=2,
    principals={"User:a": "User:b"},
    users={"b": UserSection(mechanism="SCRAM-SHA-256", password="${env:B}")},
)
IDS = {Side.SOURCE: "old", Side.TARGET: "new"}
WISH = ApplyWish.of(MANIFEST, IDS)
ACTION = PlannedAction(kind=Kind.TOPICS, name="orders", action=Verb.CREATE, what="1 partition", reason="why")


class FakeOwner:
    """Carries out what a test lets through: an outcome for each `go`, and ends with `last`."""

    def __init__(self, things: int = 1, last: BaseException | None = None) -> None:
        self.things = things
        self.last = last
        self.go = threading.Semaphore(0)
        self.refuse: KmigrateError | None = None
        self.asked: list[object] = []

    def look(self, wish: ApplyWish) -> Any:
        if self.refuse is not None:
            raise self.refuse
        return SimpleNamespace(actions=(ACTION,), wish=wish)

    def carry_out(
        self, wish: ApplyWish, seen: Any, kinds: Collection[Kind], passwords: Mapping[str, str], ended: threading.Event
    ) -> Iterator[Applied]:
        self.asked.append((seen.wish is wish, tuple(kinds), dict(passwords)))
        for number in range(self.things):
            self.go.acquire()
            if ended.is_set():
                raise KmigrateError("ended")
            yield Applied(Kind.TOPICS, f"t{number}", "created", "")
        if self.last is not None:
            raise self.last


def until(desk: ApplyDesk, number: int, stage: ApplyStage) -> ApplyStatus:
    deadline = time.monotonic() + 30
    while (status := desk.status(number)).stage is not stage:
        assert time.monotonic() < deadline, status
        time.sleep(0.001)
    return status


def planned(desk: ApplyDesk) -> int:
    number = desk.plan(WISH).number
    until(desk, number, ApplyStage.PLANNED)
    return number


def attached(owner: FakeOwner) -> ApplyDesk:
    desk = ApplyDesk()
    desk.attach(owner)
    return desk


def test_a_wish_is_the_manifests_part_beside_the_copy() -> None:
    there = ApplyWish.from_json(WISH.to_json())
    assert there == WISH
    owners = Manifest(name="orders", source=CLUSTER, target=CLUSTER, workers=3)
    assert there.put_into(owners) == replace(MANIFEST, workers=3)
    with pytest.raises(ValueError, match="topics"):
        ApplyWish.from_json("{}")


def test_what_is_planned_is_shown_and_carried_out_once_it_is_wanted() -> None:
    owner = FakeOwner(things=2)
    desk = attached(owner)
    number = planned(desk)
    assert tuple(desk.actions(number)) == (ACTION,)
    assert owner.asked == []
    assert desk.begin(number, (Kind.TOPICS,), {"b": "secret"}).stage is ApplyStage.APPLYING
    owner.go.release(2)
    done = until(desk, number, ApplyStage.DONE)
    assert [row.applied for row in done.rows] == [Applied(Kind.TOPICS, f"t{n}", "created", "") for n in range(2)]
    assert done.failure is None
    assert owner.asked == [(True, (Kind.TOPICS,), {"b": "secret"})]
    assert [row.name for row in desk.status(number, 1).rows] == ["t1"]


def test_of_two_one_wins_and_the_other_is_told() -> None:
    owner = FakeOwner()
    desk = attached(owner)
    first, second = planned(desk), planned(desk)
    desk.begin(second, tuple(Kind), {})
    with pytest.raises(Refused, match="is under way"):
        desk.begin(first, tuple(Kind), {})
    meanwhile = planned(desk)
    with pytest.raises(Refused, match="is under way"):
        desk.begin(meanwhile, tuple(Kind), {})
    owner.go.release()
    until(desk, second, ApplyStage.DONE)
    for stale in (first, meanwhile):
        with pytest.raises(Refused, match="out of date"):
            desk.begin(stale, tuple(Kind), {})
    assert len(owner.asked) == 1
    desk.begin(planned(desk), tuple(Kind), {})


def test_a_plan_is_carried_out_once() -> None:
    owner = FakeOwner(things=0)
    desk = attached(owner)
    number = planned(desk)
    desk.begin(number, tuple(Kind), {})
    until(desk, number, ApplyStage.DONE)
    with pytest.raises(KmigrateError, match="cannot be carried out"):
        desk.begin(number, tuple(Kind), {})


def test_why_it_ended_early_is_told_with_what_was_done() -> None:
    owner = FakeOwner(things=1, last=Superseded("another one has the lease", hint="look there"))
    desk = attached(owner)
    number = planned(desk)
    desk.begin(number, tuple(Kind), {})
    owner.go.release()
    done = until(desk, number, ApplyStage.DONE)
    assert len(done.rows) == 1
    assert done.failure is not None
    assert (done.failure.error, done.failure.hint, done.failure.exit_code) == (
        "another one has the lease",
        "look there",
        6,
    )
    owner.refuse = Refused("another cluster")
    number = desk.plan(WISH).number
    failed = until(desk, number, ApplyStage.DONE)
    assert failed.failure is not None
    assert failed.failure.error == "another cluster"


@pytest.mark.parametrize("who", ["the owner", "who asked"])
def test_the_owners_end_ends_it_and_so_does_who_asked(who: str) -> None:
    owner = FakeOwner(things=3)
    desk = attached(owner)
    number = planned(desk)
    desk.begin(number, tuple(Kind), {})
    if who == "who asked":
        desk.stop(number)
        owner.go.release()
    else:
        threading.Timer(0.05, owner.go.release).start()  # what was sent is waited for
        desk.attach(None)
        assert desk.status(number).stage is ApplyStage.DONE
    done = until(desk, number, ApplyStage.DONE)
    assert done.failure is not None
    assert (done.failure.error, done.rows) == ("ended", ())


def test_without_an_owner_it_is_refused() -> None:
    desk = attached(FakeOwner())
    number = planned(desk)
    desk.attach(None)
    for ask in (lambda: desk.plan(WISH), lambda: desk.begin(number, tuple(Kind), {})):
        with pytest.raises(Refused, match="no owner runs"):
            ask()


def test_memory_has_a_limit() -> None:
    owner = FakeOwner(things=ROWS_A_PAGE + 1)
    desk = attached(owner)
    numbers = [planned(desk) for _ in range(PLANS + 1)]
    with pytest.raises(Refused, match="out of date"):
        desk.begin(numbers[0], tuple(Kind), {})
    desk.begin(numbers[-1], tuple(Kind), {})
    owner.go.release(owner.things)
    assert len(until(desk, numbers[-1], ApplyStage.DONE).rows) == ROWS_A_PAGE
    assert len(desk.status(numbers[-1], ROWS_A_PAGE).rows) == 1


# -- the owner's side --------------------------------------------------------------------------------


class FakeApplying:
    """Both clusters; asks for the right to write before each of two things."""

    cluster_ids = IDS
    manifests: list[Manifest]

    def __init__(self, manifest: Manifest) -> None:
        self.manifests.append(manifest)

    def __enter__(self) -> FakeApplying:
        return self

    def __exit__(self, *_: object) -> None: ...

    def look(self, store: object) -> Any:
        return SimpleNamespace(cluster_ids=self.cluster_ids, actions=(ACTION,), store=store)

    def carry_out_under(self, may_write: Any, intent: Any, *_: object) -> Iterator[Applied]:
        for number in range(2):
            yield Applied(Kind.TOPICS, str(number), "", "" if may_write() else "no lease")


@pytest.fixture
def manifests(monkeypatch: pytest.MonkeyPatch) -> list[Manifest]:
    FakeApplying.manifests = []
    monkeypatch.setattr(runner_apply, "Applying", FakeApplying)
    return FakeApplying.manifests


def test_the_owner_looks_by_the_wish_and_with_its_own_connections(manifests: list[Manifest]) -> None:
    owners = Manifest(name="orders", source=CLUSTER, target=CLUSTER, workers=3)
    store: Any = object()
    seen: Any = OwnersApplying(owners, store, lambda: True).look(WISH)
    assert seen.store is store
    assert manifests == [replace(MANIFEST, workers=3)]
    with pytest.raises(Refused, match="source cluster is old, that of this manifest other"):
        OwnersApplying(owners, store, lambda: True).look(replace(WISH, cluster_ids=IDS | {Side.SOURCE: "other"}))


def test_the_owners_lease_counts_and_its_end(manifests: list[Manifest]) -> None:
    granted, ended = [True, False], threading.Event()
    store: Any = object()
    owner = OwnersApplying(MANIFEST, store, lambda: granted.pop(0))
    seen = owner.look(WISH)
    assert [each.trouble for each in owner.carry_out(WISH, seen, tuple(Kind), {}, ended)] == ["", "no lease"]
    ended.set()
    with pytest.raises(KmigrateError, match="was ended"):
        next(owner.carry_out(WISH, seen, tuple(Kind), {}, ended))


def test_passwords_are_not_kept_once_it_ended() -> None:
    class Passwords(dict[str, str]):
        """One that can be watched."""

    desk, owner = ApplyDesk(), FakeOwner()
    desk.attach(owner)
    passwords = Passwords(b="secret")
    watched = weakref.ref(passwords)
    number = planned(desk)
    desk.begin(number, (Kind.USERS,), passwords)
    del passwords
    owner.go.release()
    until(desk, number, ApplyStage.DONE)
    deadline = time.monotonic() + 30
    while watched() is not None:
        assert time.monotonic() < deadline, "something still knows them"
        time.sleep(0.001)
