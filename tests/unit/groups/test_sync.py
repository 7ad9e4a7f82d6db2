"""Rounds over all groups, against simulated coordinators."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from kmigrate.cluster.lanes import LANES
from kmigrate.errors import Unreachable
from kmigrate.groups.cluster_groups import Answered, Commit
from kmigrate.groups.decide import UNSETTLED
from kmigrate.groups.place import NOWHERE, Placed
from kmigrate.groups.select import SelectedGroups
from kmigrate.groups.sync import (
    LIST_SECONDS,
    LOOK_AGAIN_SECONDS,
    QUIET_SECONDS,
    REMEMBERED_COMMITS,
    WAITING_FOR_LEASE,
    RoundResult,
    Sync,
)
from kmigrate.groups.values import Outcome, OutcomeKind, Value
from kmigrate.kafka_types import BrokerId, Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.wire.error_codes import ErrorCode
from tests.simulation.groups import LostAnswer, MemoryBook, SimulatedGroups

A0, A1 = (TopicPartition(TopicName("a"), Partition(p)) for p in (0, 1))
SHIFT = 100
REFRESH_MS = 60_000


class World:
    """Two clusters, a copy that has come so far, and the sync between them."""

    def __init__(self) -> None:
        self.source, self.target = SimulatedGroups(Side.SOURCE), SimulatedGroups(Side.TARGET)
        self.book = MemoryBook()
        self.copied = {A0: 1000, A1: 1000}
        self.seconds = 0.0
        self.granted = True
        self.sync = self.start()

    def start(self) -> Sync:
        """Another owner, or the first."""
        self.sync = Sync(
            self.source,  # type: ignore[arg-type]
            self.target,  # type: ignore[arg-type]
            self.book,
            lambda listed: SelectedGroups(groups={each.group_id: each for each in listed}, left_out={}, unsupported={}),
            lambda: self.granted,
            refresh_ms=REFRESH_MS,
            seconds=lambda: self.seconds,
            wall_ms=lambda: int(self.seconds * 1000),
        )
        return self.sync

    def place(self, partition: TopicPartition, offset: Offset) -> Placed | Outcome:
        if offset > self.copied[partition]:
            return Outcome(OutcomeKind.WAITING, "waiting for the copy")
        return Placed(Offset(offset - SHIFT)) if offset >= SHIFT else Placed(NOWHERE, "expired")

    def round(self, *, after: float = 1.0) -> RoundResult:
        self.seconds += after
        return self.sync.round(self.place)

    def there(self, group: str = "g") -> dict[TopicPartition, int]:
        return {tp: value.offset for tp, value in self.target.group(group).offsets.items()}

    def outcome(self, partition: TopicPartition = A0, group: str = "g") -> Outcome:
        return self.sync.pictures[group].outcomes[partition]


@pytest.fixture
def world() -> World:
    made = World()
    made.source.commit_inside("g", A0, 300)
    return made


def test_a_round_commits_and_reads_back(world: World) -> None:
    assert world.round().committed == 1
    assert world.there() == {A0: 200}
    assert world.outcome().kind is OutcomeKind.SYNCED
    assert world.target.asked == ["list", "offsets", "describe", "commit", "offsets"]


def test_a_group_that_is_in_step_is_only_read(world: World) -> None:
    world.round()
    world.target.asked.clear()
    found = world.round()
    assert (found.decided, found.committed) == (0, 0)
    assert world.target.asked == ["list", "offsets"]


def test_it_is_decided_anew_now_and_then(world: World) -> None:
    world.round()
    assert world.round(after=2 * LOOK_AGAIN_SECONDS).decided == 1


def test_what_waits_for_the_copy_follows_when_it_is_there(world: World) -> None:
    world.round()
    world.source.commit_inside("g", A0, 1500)
    world.round()
    assert world.there() == {A0: 200}
    world.copied[A0] = 1500
    world.round()
    assert world.there() == {A0: 1400}


def test_a_group_that_is_always_ahead_of_the_copy_follows_by_what_it_committed_before(world: World) -> None:
    world.round()
    for step in range(3 * REMEMBERED_COMMITS):
        end = 1000 + 10 * step
        world.copied[A0] = end
        world.source.commit_inside("g", A0, end + 5)
        world.round()
        assert world.outcome().kind is OutcomeKind.WAITING, "what is committed on the source is not copied"
        if step:
            assert world.there() == {A0: end - 5 - SHIFT}
            assert f"{end - 5 - SHIFT} stands in" in world.outcome().reason
    world.copied[A0] = 5000
    world.round()
    assert world.there() == {A0: end + 5 - SHIFT}
    assert world.outcome().kind is OutcomeKind.SYNCED


def test_of_a_group_that_the_copy_keeps_up_with_nothing_is_remembered(world: World) -> None:
    for step in range(5):
        world.source.commit_inside("g", A0, 300 + step)
        world.round()
        assert world.sync._ahead == {}
    world.source.commit_inside("g", A0, 2000)
    world.round()
    assert [*world.sync._ahead["g"]] == [A0]
    world.source.commit_inside("g", A0, 310)
    world.round()
    assert world.sync._ahead == {}


def test_far_ahead_of_the_copy_no_more_than_some_commits_are_remembered(world: World) -> None:
    world.round()
    for step in range(2 * REMEMBERED_COMMITS):
        world.source.commit_inside("g", A0, 2000 + step)
        world.round()
    assert world.there() == {A0: 200}
    world.copied[A0] = 2000 + REMEMBERED_COMMITS  # the oldest that is remembered
    world.round()
    assert world.there() == {A0: 2000 + REMEMBERED_COMMITS - SHIFT}
    world.source.commit_inside("g", A0, 400)
    world.round()
    assert world.there() == {A0: 300}, "going back is followed at once"
    world.source.commit_inside("g", A0, 3000)
    world.copied[A0] = 2900
    world.round()
    assert world.there() == {A0: 300}, "what was committed before going back does not stand in"


def test_a_rewind_to_where_no_offset_is_takes_the_commit_away(world: World) -> None:
    world.source.commit_inside("g", A1, 400)
    world.round()
    world.source.commit_inside("g", A0, 50)
    world.round()
    assert world.there() == {A1: 300}
    world.round()
    assert world.outcome() == Outcome(OutcomeKind.SKIPPED, "expired")
    world.source.commit_inside("g", A0, 150)
    world.round()
    assert world.there() == {A0: 50, A1: 300}


def test_a_first_member_on_the_target_latches_before_anything_else(world: World) -> None:
    world.round()
    world.target.group("g").members = 1
    world.source.commit_inside("g", A0, 400)
    assert world.round().latched == 1
    assert world.book.records["g"].moved is not None
    world.target.group("g").members = 0
    world.source.commit_inside("g", A0, 500)
    for _ in range(60):
        world.round()
    assert world.there() == {A0: 200}
    assert world.start().round(world.place).committed == 0, "another owner knows it too"


def test_members_that_come_after_the_list_are_seen_by_the_describe(world: World) -> None:
    world.round()
    world.source.commit_inside("g", A0, 400)

    def join(what: str) -> None:
        if what == "describe":
            world.target.group("g").members = 1

    world.target.before = join
    assert world.round().latched == 1
    assert "commit" not in world.target.asked[-2:]
    assert world.there() == {A0: 200}


def test_members_that_come_even_later_are_seen_by_the_refusal(world: World) -> None:
    world.round()
    world.source.commit_inside("g", A0, 400)

    def join(what: str) -> None:
        if what == "commit":
            world.target.group("g").members = 1

    world.target.before = join
    world.round()
    assert world.there() == {A0: 200}
    assert world.book.records["g"].moved is not None
    assert world.outcome().kind is OutcomeKind.MOVED


def test_without_a_lease_nothing_is_committed(world: World) -> None:
    world.granted = False
    world.round()
    assert world.there() == {}
    assert world.outcome() == WAITING_FOR_LEASE
    assert "g" not in world.book.records
    world.granted = True
    world.round()
    assert world.there() == {A0: 200}


def test_a_lease_that_ends_before_the_commit_holds_it(world: World) -> None:
    def lose(what: str) -> None:
        if what == "describe":
            world.granted = False

    world.target.before = lose
    world.round()
    assert world.there() == {}
    world.target.before = lambda what: None
    world.granted = True
    world.round()
    assert world.there() == {A0: 200}


@pytest.mark.parametrize("outcome", ["lost", "unanswered", "late"])
def test_after_an_unknown_outcome_nothing_is_committed_for_a_while(world: World, outcome: str) -> None:
    world.target.outcome = lambda: outcome
    world.round()
    assert world.outcome() == UNSETTLED
    world.target.outcome = lambda: "ok"
    world.source.commit_inside("g", A0, 400)
    assert world.round().committed == 0
    world.target.deliver()
    world.round(after=QUIET_SECONDS)
    assert world.there() == {A0: 300}
    assert world.book.records["g"].moved is None


def test_behind_a_failure_the_other_groups_wait_for_the_next_round(world: World) -> None:
    for number in range(2 * LANES):
        world.source.commit_inside(f"g{number}", A0, 300)
    fates = iter(["lost"])
    world.target.outcome = lambda: next(fates, "ok")
    world.round()
    outcomes = [picture.outcomes[A0] for picture in world.sync.pictures.values()]
    waiting = [each for each in outcomes if each.kind is OutcomeKind.WAITING]
    assert outcomes.count(UNSETTLED) == 1
    assert len(waiting) > 1
    assert all("no answer" in each.reason for each in waiting if each != UNSETTLED)
    world.round()
    assert [each.kind for each in (p.outcomes[A0] for p in world.sync.pictures.values())].count(
        OutcomeKind.SYNCED
    ) == len(outcomes) - 1, "all but that of the lost commit"


def test_coordinators_are_served_beside_each_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"g{number}" for number in range(6)]
    for name in names:
        world.source.commit_inside(name, A0, 300)
    world.source.groups.pop("g", None)
    chunks = [(BrokerId(1), names[:2]), (BrokerId(1), names[2:4]), (BrokerId(2), names[4:])]
    monkeypatch.setattr(world.target, "by_coordinator", lambda groups: iter(chunks))
    together: list[list[tuple[BrokerId, str]]] = []
    commit_all = world.target.commit_all

    def note(commits: Sequence[Commit], may_send: Callable[[], bool]) -> list[Answered]:
        together.append([(each.broker, each.group) for each in commits])
        return commit_all(commits, may_send)

    monkeypatch.setattr(world.target, "commit_all", note)
    assert world.round().committed == len(names)
    assert together == [[(1, "g0"), (1, "g1"), (2, "g4"), (2, "g5")], [(1, "g2"), (1, "g3")]]
    assert all(world.outcome(group=name).kind is OutcomeKind.SYNCED for name in names)


def test_what_the_target_refuses_is_not_tried_in_every_round(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.round()
    world.source.commit_inside("g", A0, 400)

    def refuse(_name: str, offsets: dict[TopicPartition, Value]) -> dict[TopicPartition, int]:
        return dict.fromkeys(offsets, int(ErrorCode.GROUP_AUTHORIZATION_FAILED))

    with monkeypatch.context() as patched:
        patched.setattr(world.target, "_take", refuse)
        world.round()
        assert world.outcome().kind is OutcomeKind.FAILED
        world.target.asked.clear()
        world.round()
        assert "commit" not in world.target.asked
    world.round(after=2 * LOOK_AGAIN_SECONDS)
    assert world.there() == {A0: 300}


def test_what_came_between_commit_and_reading_back_is_not_taken_for_ours(world: World) -> None:
    """A foreign commit for a partition that was not committed for is in what is read back, and is noticed."""

    def commit(what: str) -> None:
        if what == "offsets" and "commit" in world.target.asked:
            world.target.group("g").offsets[A1] = Value(Offset(7), "")

    world.target.before = commit
    world.round()
    world.target.before = lambda what: None
    assert world.round().latched == 1


@pytest.mark.parametrize("crash", ["before", "after"])
def test_a_crash_around_the_saving_is_not_taken_for_a_foreign_commit(world: World, crash: str) -> None:
    world.round()
    world.source.commit_inside("g", A0, 400)
    world.book.crash = crash
    with pytest.raises(LostAnswer):
        world.round()
    world.start()
    world.round()
    world.round(after=QUIET_SECONDS)
    assert world.there() == {A0: 300}
    assert world.book.records["g"].moved is None


def test_a_crash_between_commit_and_reading_is_not_taken_for_a_foreign_commit(world: World) -> None:
    world.round()
    world.source.commit_inside("g", A0, 400)
    world.target.outcome = lambda: "crash"
    with pytest.raises(LostAnswer):
        world.round()
    world.target.outcome = lambda: "ok"
    world.start()
    world.source.commit_inside("g", A0, 500)
    world.round()
    world.round(after=QUIET_SECONDS)
    assert world.there() == {A0: 400}


def test_a_lost_book_goes_on_where_the_target_has_what_we_would_write(world: World) -> None:
    world.source.commit_inside("behind", A0, 300)
    world.round()
    world.book.records.clear()
    world.source.commit_inside("behind", A0, 301)
    world.start()
    world.round()
    assert world.outcome().kind is OutcomeKind.SYNCED
    assert world.book.records["behind"].moved is not None, "nobody can tell whose commit that is"


def test_a_group_counts_as_deleted_only_when_two_whole_lists_leave_it_out(world: World) -> None:
    world.round()
    del world.source.groups["g"]
    world.source.listing_trouble = "a broker is down"
    for _ in range(5):
        world.round(after=LIST_SECONDS)
    assert world.sync.pictures["g"].listed is not None
    world.source.listing_trouble = ""
    world.round(after=LIST_SECONDS)
    assert world.sync.pictures["g"].listed is not None
    world.round(after=LIST_SECONDS)
    assert world.sync.pictures["g"].listed is None
    assert world.outcome().reason.startswith("the group was deleted on the source")
    assert world.there() == {A0: 200}


def test_commits_are_written_anew_before_they_expire(world: World) -> None:
    world.round()
    world.target.own.clear()
    world.round(after=REFRESH_MS / 2000)
    assert not world.target.own
    world.round(after=REFRESH_MS / 1000)
    assert [each.value.offset for each in world.target.own] == [200]
    world.target.own.clear()
    world.round()
    assert not world.target.own


def test_what_was_found_there_is_written_anew_at_once(world: World) -> None:
    world.target.commit_inside("g", A0, 200, epoch=-1)
    world.round(after=REFRESH_MS / 1000)
    world.round()
    assert [each.value.offset for each in world.target.own] == [200]


def test_a_group_without_an_answer_keeps_its_last_outcome_and_says_why(world: World) -> None:
    world.round()

    def fail(what: str) -> None:
        if what == "offsets":
            raise Unreachable("frozen", side=Side.SOURCE)

    world.source.before = fail
    world.source.commit_inside("g", A0, 400)
    world.round()
    assert world.there() == {A0: 200}
    assert "frozen" in world.sync.pictures["g"].trouble.reason  # type: ignore[union-attr]


def test_a_release_lets_a_group_follow_again(world: World) -> None:
    world.round()
    world.target.commit_inside("g", A0, 777)
    world.round()
    assert world.book.records["g"].moved is not None
    world.sync.release(["g"])
    world.round()
    assert world.there() == {A0: 200}
    assert world.outcome().kind is OutcomeKind.SYNCED


@pytest.mark.parametrize("number", range(300))
def test_whatever_happens_nothing_goes_wrong(seed: int, number: int) -> None:
    """Commits, rewinds, copying, members, crashes and lost answers in any order."""
    chance = random.Random(f"{seed}/groups/{number}")
    world = World()
    names = ["g1", "g2", "g3"]
    wanted: dict[tuple[str, TopicPartition], set[int]] = {}
    foreign: set[str] = set()

    def commit_on_source(name: str) -> None:
        partition, offset = chance.choice((A0, A1)), chance.randrange(SHIFT // 2, 2000)
        world.source.commit_inside(name, partition, offset)
        wanted.setdefault((name, partition), set()).add(offset - SHIFT)

    def use_target(name: str) -> None:
        world.target.group(name).members += 1
        if chance.random() < 0.7:
            foreign.add(name)  # members that leave nothing may come and go unseen
            world.target.commit_inside(name, A0, chance.randrange(5000, 6000))

    def disturb(what: str) -> None:
        if chance.random() < 0.05:
            commit_on_source(chance.choice(names))
        if chance.random() < 0.01:
            use_target(chance.choice(names))
        if chance.random() < 0.02:
            raise Unreachable("a hiccup", side=Side.TARGET)
        if chance.random() < 0.02:
            raise LostAnswer

    for name in names:
        commit_on_source(name)
    world.copied = dict.fromkeys(world.copied, 500)
    world.target.before = world.source.before = disturb
    world.target.outcome = lambda: chance.choices(["ok", "lost", "unanswered", "late", "crash"], [20, 1, 1, 1, 1])[0]
    for _ in range(80):
        action = chance.random()
        if action < 0.3:
            commit_on_source(chance.choice(names))
        elif action < 0.5:
            partition = chance.choice((A0, A1))
            world.copied[partition] += chance.randrange(200)
        elif action < 0.55 and not world.target.late:  # Kafka has no commit on a condition: one on its way would win
            for group in world.target.groups.values():
                group.members = 0
        elif action < 0.6:
            world.book.crash = chance.choice(["before", "after"])
        try:
            world.round(after=chance.choice([1.0, 1.0, 3.0]))
        except LostAnswer:
            world.start()
        if chance.random() < 0.5:
            world.target.deliver()
        check_commits(world, wanted)
    quiet(world)
    for name in names:
        moved = name in world.book.records and world.book.records[name].moved is not None
        assert moved or name not in foreign
        for partition, value in world.source.group(name).offsets.items():
            if not moved and value.offset <= world.copied[partition]:
                expected = value.offset - SHIFT if value.offset >= SHIFT else None
                assert world.there(name).get(partition) == expected
    check_commits(world, wanted)


def quiet(world: World) -> None:
    """Nothing happens any more, and everything under way has arrived."""
    world.target.deliver()
    world.target.before = world.source.before = lambda what: None
    world.target.outcome = lambda: "ok"
    world.book.crash = ""
    for _ in range(10):
        world.round(after=QUIET_SECONDS / 2)


def check_commits(world: World, wanted: dict[tuple[str, TopicPartition], set[int]]) -> None:
    """What the sync committed since the last check."""
    for commit in world.target.own:
        assert commit.value.offset in wanted[commit.group, commit.partition], "no translation of any commit"
        assert commit.value.offset + SHIFT <= world.copied[commit.partition], "past what is copied"
        assert commit.over is None or commit.over.offset < 5000, "over a foreign commit"
    world.target.own.clear()
