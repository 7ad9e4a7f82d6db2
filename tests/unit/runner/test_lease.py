"""The lease's decisions: step by step, and in a simulated group under random delays, losses and freezes."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from kmigrate.copy.orders import LeaseGrant
from kmigrate.errors import Blocked, Refused, Superseded
from kmigrate.kafka_types import BrokerAddress, BrokerId, Partition, Term, TopicName, TopicPartition
from kmigrate.runner.lease import NoLease, split_commits
from kmigrate.runner.lease_machine import (
    Beat,
    Claim,
    Describe,
    Ended,
    FindCoordinator,
    Join,
    LeaseMachine,
    Leave,
    Pause,
    SaveMemberId,
    Step,
    Sync,
    decide_assignments,
    decide_holder,
    parse_claim,
)
from kmigrate.wire.group_calls import Coordinator, GroupDescription, GroupMember, Joined, Synced

SESSION = 10.0
NEWCOMER = GroupMember("n", Claim(owner="there:2").serialize())
FOUND = Coordinator(0, BrokerAddress(BrokerId(1), "broker", 9092))
GROUP = "kmigrate-orders"


def new_machine(predecessor: str | None = None, owner: str = "here:1") -> LeaseMachine:
    return LeaseMachine(group_id=GROUP, owner=owner, session_seconds=SESSION, predecessor_member_id=predecessor)


def joined(
    generation: int, *others: GroupMember, me: str = "m1", leader: str | None = None, term: int | None = None
) -> Joined:
    mine = GroupMember(me, Claim(owner="here:1", term=None if term is None else Term(term)).serialize())
    leads = leader is None or leader == me
    return Joined(
        error=0,
        generation=generation,
        leader=leader or me,
        member_id=me,
        members=(mine, *others) if leads else (),
    )


def join_error(error: int, member_id: str = "") -> Joined:
    return Joined(error=error, generation=-1, leader="", member_id=member_id, members=())


def describe(state: str, *members: GroupMember, error: int = 0) -> GroupDescription:
    return GroupDescription(error=error, state=state, protocol_type="kmigrate", members=members)


def holding(generation: int = 5, at: float = 100.0) -> LeaseMachine:
    """A machine that holds the lease under the given term since the given time."""
    machine = new_machine()
    machine.on_coordinator(FOUND, at)
    machine.on_joined(join_error(79, "m1"), at)
    machine.on_member_id_saved()
    machine.on_joined(joined(generation), at)
    machine.on_synced(Synced(0, b"holder"), at, at)
    machine.on_commit_seen()
    assert machine.grant is not None
    return machine


def dropped(generation: int = 5) -> LeaseMachine:
    """A machine that held the lease until a heartbeat was answered with UNKNOWN_MEMBER_ID."""
    machine = holding(generation)
    machine.on_beat(25, 120.0, 120.0)
    return machine


def rejoin(machine: LeaseMachine, generation: int) -> None:
    machine.on_joined(join_error(79, "m2"), 121.0)
    machine.on_member_id_saved()
    machine.on_joined(joined(generation, me="m2"), 121.0)
    machine.on_synced(Synced(0, b"holder"), 121.0, 121.0)


# -- What members tell each other -----------------------------------------------------------------


def test_a_claim_comes_back_as_it_was_said() -> None:
    for claim in (Claim(owner="höst:7 /folder", term=Term(9)), Claim(owner="", term=None)):
        assert parse_claim(claim.serialize()) == claim


@pytest.mark.parametrize(
    "metadata", [b"", b"\xff\xfe", b"{}", b"[]", b"7", b'{"owner": "a"}', b'{"owner": "a", "term": true}']
)
def test_metadata_that_cannot_be_understood_claims_nothing(metadata: bytes) -> None:
    assert parse_claim(metadata).term is None


def test_the_highest_claim_keeps_the_lease_whoever_leads() -> None:
    members = [
        GroupMember("a", Claim(owner="A").serialize()),
        GroupMember("b", Claim(owner="B", term=Term(3)).serialize()),
        GroupMember("c", Claim(owner="C", term=Term(12)).serialize()),
        GroupMember("d", b"garbage"),
    ]
    assert decide_holder(members, "a") == "c"
    assert decide_assignments(members, "a") == {
        "a": b"held by C",
        "b": b"held by C",
        "c": b"holder",
        "d": b"held by C",
    }


def test_without_a_claim_the_leader_takes_the_lease() -> None:
    members = [GroupMember(name, Claim(owner=name.upper()).serialize()) for name in "ab"]
    assert decide_assignments(members, "b") == {"a": b"held by B", "b": b"holder"}


# -- The start ------------------------------------------------------------------------------------


def test_the_start_step_by_step() -> None:
    machine = new_machine()
    assert machine.next_step(0.0) == FindCoordinator()
    machine.on_coordinator(FOUND, 0.0)
    metadata = Claim(owner="here:1").serialize()
    assert machine.next_step(0.0) == Join(member_id="", metadata=metadata)
    machine.on_joined(join_error(79, "m1"), 0.0)
    assert machine.next_step(0.0) == SaveMemberId(member_id="m1")
    machine.on_member_id_saved()
    assert machine.next_step(0.0) == Join(member_id="m1", metadata=metadata)
    machine.on_joined(joined(1), 0.0)
    assert machine.next_step(0.0) == Sync(generation=1, member_id="m1", assignments={"m1": b"holder"})
    assert machine.grant is None
    assert machine.membership is None
    machine.on_synced(Synced(0, b"holder"), 3.0, 4.0)
    assert machine.grant == LeaseGrant(term=Term(1), deadline_seconds=3.0 + 0.6 * SESSION)
    assert machine.membership == (1, "m1")


def test_the_predecessor_leaves_first() -> None:
    for error in (0, 25):
        machine = new_machine(predecessor="dead")
        machine.on_coordinator(FOUND, 0.0)
        assert machine.next_step(0.0) == Leave(member_id="dead")
        machine.on_left(error, 0.0)
        assert isinstance(machine.next_step(0.0), Join)


def test_a_member_id_that_came_unasked_is_saved_before_it_is_used() -> None:
    machine = new_machine()
    machine.on_coordinator(FOUND, 0.0)
    machine.on_joined(joined(1), 0.0)
    assert machine.next_step(0.0) == SaveMemberId(member_id="m1")


def test_whoever_is_told_of_a_holder_leaves_and_is_refused() -> None:
    machine = new_machine()
    machine.on_coordinator(FOUND, 0.0)
    machine.on_joined(join_error(79, "m1"), 0.0)
    machine.on_member_id_saved()
    machine.on_joined(joined(2, leader="other"), 0.0)
    assert machine.next_step(0.0) == Sync(generation=2, member_id="m1", assignments={})
    machine.on_synced(Synced(0, b"held by there:2"), 0.0, 0.0)
    assert machine.next_step(0.0) == Leave(member_id="m1")
    machine.on_left(0, 0.0)
    step = machine.next_step(0.0)
    assert isinstance(step, Ended)
    assert isinstance(step.error, Refused)
    assert not isinstance(step.error, Superseded)
    assert "there:2" in str(step.error)
    assert machine.grant is None


@pytest.mark.parametrize(
    ("error", "words"), [(30, "no right"), (23, "in use"), (24, "group id"), (26, "session time-out")]
)
def test_what_no_repetition_mends_blocks_the_start(error: int, words: str) -> None:
    machine = new_machine()
    machine.on_coordinator(FOUND, 0.0)
    machine.on_joined(join_error(error), 0.0)
    step = machine.next_step(0.0)
    assert isinstance(step, Ended)
    assert isinstance(step.error, Blocked)
    assert words in str(step.error)


def test_a_missing_right_names_the_command_that_gives_it() -> None:
    machine = new_machine()
    machine.on_coordinator(Coordinator(30, FOUND.address), 0.0)
    assert isinstance(machine.error, Blocked)
    assert f"--group {GROUP} --operation READ" in machine.error.hint


@pytest.mark.parametrize("error", [14, 15, 16, -1, 7])
def test_errors_that_pass_are_waited_out_with_growing_pauses(error: int) -> None:
    machine, now, pauses = new_machine(), 0.0, []
    for _ in range(6):
        assert machine.next_step(now) == FindCoordinator()
        machine.on_coordinator(Coordinator(error, FOUND.address), now)
        step = machine.next_step(now)
        assert isinstance(step, Pause)
        pauses.append(step.until_seconds - now)
        now = step.until_seconds
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    assert f"({error})" in machine.trouble


# -- Holding --------------------------------------------------------------------------------------


def test_a_heartbeat_is_due_six_times_a_session() -> None:
    machine = holding(at=100.0)
    assert machine.next_step(100.0) == Pause(until_seconds=100.0 + SESSION / 6)
    assert machine.next_step(100.0 + SESSION / 6) == Beat(generation=5, member_id="m1")
    machine.check_now()
    assert machine.next_step(100.0) == Beat(generation=5, member_id="m1")


def test_a_late_answer_grants_from_the_time_of_asking() -> None:
    machine = holding(at=100.0)
    machine.on_beat(0, 102.0, 500.0)
    assert machine.grant == LeaseGrant(term=Term(5), deadline_seconds=102.0 + 0.6 * SESSION)
    assert machine.next_step(500.0) == Beat(generation=5, member_id="m1")


@pytest.mark.parametrize("error", [27, 22])
def test_a_rebalance_is_joined_with_the_claim_and_renews_nothing_by_itself(error: int) -> None:
    machine = holding()
    before = machine.grant
    machine.on_beat(error, 102.0, 102.0)
    assert machine.next_step(102.0) == Join(member_id="m1", metadata=Claim(owner="here:1", term=Term(5)).serialize())
    newcomer = GroupMember("n", Claim(owner="there:2").serialize())
    machine.on_joined(joined(6, newcomer, term=5), 103.0)
    step = machine.next_step(103.0)
    assert isinstance(step, Sync)
    assert step.assignments == {"m1": b"holder", "n": b"held by here:1"}
    assert machine.grant is before
    machine.on_synced(Synced(0, b"holder"), 103.0, 104.0)
    assert machine.grant == LeaseGrant(term=Term(6), deadline_seconds=103.0 + 0.6 * SESSION)


@pytest.mark.parametrize("error", [27, 22])
def test_a_generation_that_ended_before_it_was_synced_is_joined_again(error: int) -> None:
    machine = holding()
    machine.on_beat(27, 102.0, 102.0)
    machine.on_joined(joined(6, term=5), 102.0)
    machine.on_synced(Synced(error, b""), 102.0, 102.0)
    assert isinstance(machine.next_step(102.0), Join)


def test_a_holder_that_is_told_of_another_is_superseded_and_its_grant_revoked() -> None:
    machine = holding()
    machine.on_beat(27, 102.0, 102.0)
    machine.on_joined(joined(6, leader="other"), 102.0)
    machine.on_synced(Synced(0, b"held by there:2"), 102.0, 102.0)
    assert machine.grant == LeaseGrant(term=Term(5), deadline_seconds=0.0)
    assert machine.membership is None
    assert machine.next_step(102.0) == Leave(member_id="m1")
    machine.on_failed("gone", 102.0)
    step = machine.next_step(102.0)
    assert isinstance(step, Ended)
    assert isinstance(step.error, Superseded)
    assert "there:2" in str(step.error)


def test_a_lost_connection_keeps_the_lease_and_lets_the_deadline_pass() -> None:
    machine = holding(at=100.0)
    before = machine.grant
    now = 102.0
    for _ in range(50):
        machine.on_failed("no answer", now)
        assert machine.trouble == "no answer"
        step = machine.next_step(now)
        assert isinstance(step, Pause)
        now = step.until_seconds
        assert machine.next_step(now) == FindCoordinator()
    assert machine.grant is before
    machine.on_coordinator(FOUND, now)
    assert machine.next_step(now) == Beat(generation=5, member_id="m1")
    machine.on_beat(0, now, now)
    assert machine.grant == LeaseGrant(term=Term(5), deadline_seconds=now + 0.6 * SESSION)
    assert machine.trouble == ""
    machine.on_failed("no answer", now)
    assert machine.next_step(now) == Pause(until_seconds=now + 0.2)


@pytest.mark.parametrize("error", [14, 15, 16, 30, -1])
def test_a_heartbeat_refused_for_another_reason_is_tried_again(error: int) -> None:
    machine = holding()
    machine.on_beat(error, 102.0, 102.0)
    assert machine.error is None
    assert machine.next_step(103.0) == FindCoordinator()


# -- Dropped --------------------------------------------------------------------------------------


def test_a_dropped_holder_writes_no_more_and_looks_first() -> None:
    machine = dropped()
    assert machine.grant == LeaseGrant(term=Term(5), deadline_seconds=0.0)
    assert machine.membership is None
    assert machine.next_step(120.0) == Describe()


def test_an_empty_group_and_the_generation_after_the_next_show_that_nobody_came() -> None:
    machine = dropped(5)
    machine.on_described(describe("Empty"), 120.0)
    assert machine.next_step(120.0) == Join(member_id="", metadata=Claim(owner="here:1").serialize())
    rejoin(machine, 7)
    assert machine.grant == LeaseGrant(term=Term(7), deadline_seconds=121.0 + 0.6 * SESSION)
    assert machine.membership == (7, "m2")
    assert machine.next_step(121.0) == Pause(until_seconds=121.0 + SESSION / 6)


def test_the_next_coordinator_is_asked_again_whether_the_group_is_empty() -> None:
    """It may have taken over what was before we were dropped, and may since have seen another holder."""
    machine = dropped(5)
    machine.on_described(describe("Empty"), 120.0)
    machine.on_failed("no answer", 121.0)
    machine.on_coordinator(FOUND, 122.0)
    assert machine.next_step(122.0) == Describe()
    machine.on_described(describe("Stable", NEWCOMER), 122.0)
    assert isinstance(machine.error, Superseded)


def test_a_group_that_may_have_been_forgotten_and_begun_anew_proves_nothing() -> None:
    without_commits = new_machine()
    without_commits.on_coordinator(FOUND, 100.0)
    without_commits.on_joined(joined(1), 100.0)
    without_commits.on_synced(Synced(0, b"holder"), 100.0, 100.0)
    without_commits.on_beat(25, 111.0, 111.0)
    long_away = holding(1, at=100.0)
    long_away.on_beat(25, 100_000.0, 100_000.0)
    for machine in (without_commits, long_away):
        machine.on_described(describe("Empty"), 100_000.0)
        rejoin(machine, 3)
        assert isinstance(machine.error, Superseded)


@pytest.mark.parametrize("generation", [1, 5, 6, 8, 9])
def test_any_other_generation_supersedes(generation: int) -> None:
    machine = dropped(5)
    machine.on_described(describe("Empty"), 120.0)
    rejoin(machine, generation)
    assert isinstance(machine.error, Superseded)
    assert machine.grant == LeaseGrant(term=Term(5), deadline_seconds=0.0)
    assert machine.next_step(121.0) == Leave(member_id="m2")


@pytest.mark.parametrize("others", [(), (NEWCOMER,)])
def test_who_leads_on_coming_back_keeps_the_claim_through_failing_syncs(others: tuple[GroupMember, ...]) -> None:
    machine = dropped(5)
    machine.on_described(describe("Empty"), 120.0)
    machine.on_joined(join_error(79, "m2"), 121.0)
    machine.on_member_id_saved()
    machine.on_joined(joined(7, *others, me="m2"), 121.0)
    for generation in (8, 9):
        machine.on_synced(Synced(15, b""), 121.0, 126.0)
        assert machine.membership is None
        machine.on_coordinator(FOUND, 126.5)
        machine.on_synced(Synced(27, b""), 126.5, 126.5)
        assert machine.next_step(127.0) == Join(
            member_id="m2", metadata=Claim(owner="here:1", term=Term(5)).serialize()
        )
        machine.on_joined(joined(generation, *others, me="m2", term=5), 127.0)
    assert machine.grant == LeaseGrant(term=Term(5), deadline_seconds=0.0)
    machine.on_synced(Synced(0, b"holder"), 128.0, 128.0)
    assert machine.grant == LeaseGrant(term=Term(9), deadline_seconds=128.0 + 0.6 * SESSION)
    assert machine.membership == (9, "m2")


def test_who_comes_back_behind_another_leader_must_get_the_lease_at_once() -> None:
    machine = dropped(5)
    machine.on_described(describe("Empty"), 120.0)
    machine.on_joined(join_error(79, "m2"), 121.0)
    machine.on_member_id_saved()
    machine.on_joined(joined(7, me="m2", leader="n"), 121.0)
    machine.on_synced(Synced(27, b""), 121.0, 121.0)
    step = machine.next_step(121.0)
    assert step == Join(member_id="m2", metadata=Claim(owner="here:1").serialize())
    machine.on_joined(joined(8, me="m2"), 122.0)
    machine.on_synced(Synced(0, b"holder"), 122.0, 122.0)
    assert isinstance(machine.error, Superseded)


def test_who_came_back_and_is_dropped_again_needs_the_proof_anew() -> None:
    machine = dropped(5)
    machine.on_described(describe("Empty"), 120.0)
    machine.on_joined(join_error(79, "m2"), 121.0)
    machine.on_member_id_saved()
    machine.on_joined(joined(7, me="m2"), 121.0)
    machine.on_synced(Synced(25, b""), 121.0, 121.0)
    assert machine.next_step(121.0) == Describe()
    machine.on_described(describe("Empty"), 122.0)
    rejoin(machine, 9)
    assert isinstance(machine.error, Superseded)


@pytest.mark.parametrize("state", ["Stable", "PreparingRebalance", "CompletingRebalance"])
def test_a_group_in_use_supersedes(state: str) -> None:
    machine = dropped()
    machine.on_described(describe(state, GroupMember("n", Claim(owner="there:2").serialize())), 120.0)
    step = machine.next_step(120.0)
    assert isinstance(step, Ended)
    assert isinstance(step.error, Superseded)
    assert "there:2" in str(step.error)


def test_a_forgotten_group_supersedes() -> None:
    machine = dropped()
    machine.on_described(describe("Dead"), 120.0)
    assert isinstance(machine.error, Superseded)


def test_being_dropped_twice_needs_a_second_look() -> None:
    machine = dropped(5)
    machine.on_described(describe("Empty"), 120.0)
    machine.on_joined(join_error(25), 121.0)
    assert machine.next_step(121.0) == Describe()
    machine.on_described(describe("", error=16), 121.0)
    assert machine.next_step(122.0) == FindCoordinator()


# -- Commits --------------------------------------------------------------------------------------


def test_commits_are_split_so_that_each_part_fits_into_a_batch() -> None:
    offsets = {TopicPartition(TopicName("t"), Partition(n)): (n, "x" * 4000) for n in range(300)}
    parts = list(split_commits(offsets))
    assert len(parts) > 1
    assert all(len(part) * 4100 < 500_000 for part in parts)
    assert {partition: value for part in parts for partition, value in part.items()} == offsets
    assert list(split_commits({})) == []


def test_no_lease_is_granted_for_ever() -> None:
    lease = NoLease()
    assert lease.acquire(0.0) == lease.grant() == LeaseGrant(term=Term(1), deadline_seconds=math.inf)
    assert lease.commit({TopicPartition(TopicName("t"), Partition(0)): (1, "")}) == {}
    assert lease.committed() == {}
    lease.release()


# -- Many machines, one simulated coordinator -------------------------------------------------------

Answer = Callable[[Any], None]


@dataclass
class FakeMember:
    metadata: bytes
    expires: float
    join_answer: Answer | None = None
    sync_answer: Answer | None = None


@dataclass(frozen=True)
class FakeGroup:
    """A group as it lies in the coordinator's log; `metadata` of each member."""

    state: str
    generation: int
    leader: str
    metadata: Mapping[str, bytes]
    assignments: Mapping[str, bytes]


@dataclass
class FakeCoordinator:
    """The classic protocol as brokers keep it: sessions, rebalances, generations; the leader may change.

    While `stalled` nothing is replicated: a SyncGroup is refused after 5 s, a heartbeat counts without an answer. What
    was replicated last is what another coordinator takes over.
    """

    chance: random.Random
    later: Callable[[float, Callable[[], None]], None]
    stalled: bool = False
    replicated: FakeGroup | None = None
    state: str = "Empty"
    generation: int = 0
    leader: str = ""
    rebalance_ends: float = math.inf
    members: dict[str, FakeMember] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    assignments: Mapping[str, bytes] = field(default_factory=dict)
    ids: Any = field(default_factory=lambda: itertools.count(1))

    def handle(self, step: Step, now: float, answer: Answer) -> None:
        self.expire(now)
        match step:
            case FindCoordinator():
                answer(FOUND)
            case Describe():
                described = tuple(GroupMember(name, m.metadata) for name, m in self.members.items())
                answer(describe(self.state, *described))
            case Leave():
                answer(0 if self.members.pop(step.member_id, None) else 25)
                self._left(now)
            case Join():
                self._join(step, now, answer)
            case Sync():
                self._sync(step, now, answer)
            case Beat():
                error = self._beat(step, now)
                if error or not self.stalled:
                    answer(error)

    def settle(self) -> None:
        """What is known in memory now is replicated, if it can be."""
        if not self.stalled and self.state in ("Stable", "Empty"):
            metadata = {name: member.metadata for name, member in self.members.items()}
            self.replicated = FakeGroup(self.state, self.generation, self.leader, metadata, self.assignments)

    def recover(self, now: float, *, elsewhere: bool) -> None:
        """Replication works again; or another coordinator takes over what was replicated, and answers no old call."""
        self.stalled = False
        if elsewhere:
            group = self.replicated or FakeGroup("Empty", 0, "", {}, {})
            self.state, self.generation, self.leader = group.state, group.generation, group.leader
            self.members = {name: FakeMember(said, now + SESSION) for name, said in group.metadata.items()}
            self.assignments, self.pending, self.rebalance_ends = group.assignments, set(), math.inf
        self.settle()

    def _refuse_sync(self, generation: int, now: float) -> None:
        if self.generation == generation and self.state == "CompletingRebalance":
            for member in self.members.values():
                if member.sync_answer:
                    member.sync_answer(Synced(15, b""))
                    member.sync_answer = None
            self._prepare(now)

    def expire(self, now: float) -> None:
        gone = [name for name, m in self.members.items() if m.expires <= now and m.join_answer is None]
        for name in gone:
            del self.members[name]
        if gone:
            self._left(now)
        if self.state == "PreparingRebalance" and now >= self.rebalance_ends:
            self.members = {name: m for name, m in self.members.items() if m.join_answer is not None}
            self._complete(now)

    def _join(self, step: Join, now: float, answer: Answer) -> None:
        if not step.member_id:
            member_id = f"m{next(self.ids)}"
            self.pending.add(member_id)
            answer(join_error(79, member_id))
            return
        member = self.members.get(step.member_id)
        if member is None and step.member_id not in self.pending:
            answer(join_error(25))
            return
        if member is None:
            self.pending.remove(step.member_id)
            member = self.members[step.member_id] = FakeMember(step.metadata, now + SESSION)
        member.metadata, member.join_answer, member.expires = step.metadata, answer, now + SESSION
        self._prepare(now)

    def _prepare(self, now: float) -> None:
        if self.state != "PreparingRebalance":
            self.state, self.rebalance_ends = "PreparingRebalance", now + SESSION
            for member in self.members.values():
                if member.sync_answer:
                    member.sync_answer(Synced(27, b""))
                    member.sync_answer = None
        if all(member.join_answer is not None for member in self.members.values()):
            self._complete(now)

    def _complete(self, now: float) -> None:
        self.generation += 1
        self.rebalance_ends = math.inf
        if not self.members:
            self.state = "Empty"
            self.settle()
            return
        self.state = "CompletingRebalance"
        if self.leader not in self.members or self.chance.random() < 0.2:
            self.leader = self.chance.choice(list(self.members))
        everybody = tuple(GroupMember(name, m.metadata) for name, m in self.members.items())
        for name, member in self.members.items():
            seen = everybody if name == self.leader else ()
            assert member.join_answer is not None
            member.join_answer(
                Joined(error=0, generation=self.generation, leader=self.leader, member_id=name, members=seen)
            )
            member.join_answer, member.expires = None, now + SESSION

    def _sync(self, step: Sync, now: float, answer: Answer) -> None:
        member = self.members.get(step.member_id)
        if member is None:
            answer(Synced(25, b""))
        elif step.generation != self.generation:
            answer(Synced(22, b""))
        elif self.state == "PreparingRebalance":
            answer(Synced(27, b""))
        else:
            member.expires, member.sync_answer = now + SESSION, answer
            if step.member_id == self.leader and self.state == "CompletingRebalance":
                if self.stalled:
                    self.later(5.0, lambda: self._refuse_sync(step.generation, now + 5.0))
                    return
                self.state, self.assignments = "Stable", step.assignments
                self.settle()
            if self.state == "Stable":
                for name, each in self.members.items():
                    if each.sync_answer:
                        each.sync_answer(Synced(0, self.assignments.get(name, b"")))
                        each.sync_answer = None

    def _beat(self, step: Beat, now: float) -> int:
        member = self.members.get(step.member_id)
        if member is None:
            return 25
        if step.generation != self.generation:
            return 22
        member.expires = now + SESSION
        return 27 if self.state == "PreparingRebalance" else 0

    def _left(self, now: float) -> None:
        if self.state in ("Stable", "CompletingRebalance", "PreparingRebalance"):
            self._prepare(now)


class Simulation:
    """Owners come, freeze, are cut off, die and give up; whoever holds a grant is checked at every grant."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = 1000.0
        self.coordinator = FakeCoordinator(chance, self.at)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.history: list[str] = []
        self.regained = 0
        self.readmitted = 0
        self.ended: list[str] = []

    def at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay, next(self.order), action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.events and self.events[0][0] <= end:
            self.now, _, action = heapq.heappop(self.events)
            self.coordinator.expire(self.now)
            action()


class SimulatedOwner:
    """What `Lease` does, with a network that loses and delays."""

    def __init__(self, world: Simulation, name: str, everybody: list[SimulatedOwner]) -> None:
        self.world = world
        self.name = name
        self.everybody = everybody
        self.machine = new_machine(owner=name)
        self.grant: LeaseGrant | None = None
        self.wrote = False
        self.asleep_until = 0.0
        self.cut_until = 0.0
        self.exchange = 0
        everybody.append(self)
        world.at(0.0, self.go_on)

    def go_on(self) -> None:
        world = self.world
        if world.now < self.asleep_until:
            world.at(self.asleep_until - world.now, self.go_on)
            return
        self.check_grant()
        step = self.machine.next_step(world.now)
        match step:
            case Ended():
                world.ended.append(type(step.error).__name__)
            case Pause():
                world.at(step.until_seconds - world.now, self.go_on)
            case SaveMemberId():
                self.machine.on_member_id_saved()
                world.at(0.0, self.go_on)
            case _:
                self.send(step)

    def send(self, step: Step) -> None:
        world, sent_at = self.world, self.world.now
        self.exchange += 1
        exchange = self.exchange
        world.at(self.delay(), lambda: self.arrive(step, sent_at, exchange))
        patience = 2 * SESSION + 5 if isinstance(step, Join | Sync) else SESSION / 3
        world.at(patience, lambda: self.received(exchange, lambda: self.machine.on_failed("late", world.now)))

    def arrive(self, step: Step, sent_at: float, exchange: int) -> None:
        if self.is_cut():
            return

        def answer(value: Any) -> None:
            if not self.is_cut():
                self.world.at(self.delay(), lambda: self.received(exchange, lambda: self.take(step, value, sent_at)))

        self.world.coordinator.handle(step, self.world.now, answer)

    def received(self, exchange: int, use: Callable[[], None]) -> None:
        world = self.world
        if world.now < self.asleep_until:
            world.at(self.asleep_until - world.now, lambda: self.received(exchange, use))
        elif exchange == self.exchange:
            self.exchange += 1
            use()
            self.go_on()

    def take(self, step: Step, value: Any, sent_at: float) -> None:
        machine, now = self.machine, self.world.now
        match step:
            case FindCoordinator():
                machine.on_coordinator(value, now)
            case Leave():
                machine.on_left(value, now)
            case Describe():
                machine.on_described(value, now)
            case Join():
                machine.on_joined(value, now)
            case Sync():
                machine.on_synced(value, sent_at, now)
            case Beat():
                machine.on_beat(value, sent_at, now)

    def check_grant(self) -> None:
        world, grant = self.world, self.machine.grant
        if grant is None or grant is self.grant:
            return
        before, self.grant = self.grant, grant
        if grant.deadline_seconds <= world.now:
            return
        self.machine.on_commit_seen()
        others = [each.name for each in self.everybody if each is not self and each.may_write()]
        assert not others, f"{self.name} may write beside {others} at {world.now}"
        if self.wrote and before is not None and before.term != grant.term:
            assert world.history[-1] == self.name, f"{self.name} goes on although {world.history[-1]} was there"
            world.regained += before.deadline_seconds == 0.0
            world.readmitted += grant.term > before.term + 2
        if world.history[-1:] != [self.name]:
            world.history.append(self.name)
        self.wrote = True

    def may_write(self) -> bool:
        return self.grant is not None and self.grant.deadline_seconds > self.world.now

    def is_cut(self) -> bool:
        return self.world.now < self.cut_until

    def delay(self) -> float:
        return self.world.chance.choice([0.001, 0.001, 0.01, 0.5, self.world.chance.uniform(0, 4)])


def simulate(chance: random.Random) -> Simulation:
    world = Simulation(chance)
    owners: list[SimulatedOwner] = []

    def disturb() -> None:
        world.at(chance.uniform(0.5, 12), disturb)
        victim = chance.choice(owners) if owners else None
        match chance.choice(["come", "come", "freeze", "cut", "cut", "die", "stall", "stall"]):
            case "stall" if not world.coordinator.stalled:
                world.coordinator.stalled = True
                elsewhere = chance.random() < 0.3
                seconds = chance.uniform(1, 5 * SESSION)
                world.at(seconds, lambda: world.coordinator.recover(world.now, elsewhere=elsewhere))
            case "freeze" if victim:
                victim.asleep_until = world.now + chance.uniform(1, 3 * SESSION)
            case "cut" if victim:
                victim.cut_until = world.now + chance.uniform(1, 3 * SESSION)
            case "die" if victim:
                victim.asleep_until = math.inf
                owners.remove(victim)
            case _:
                SimulatedOwner(world, f"owner {len(world.history)}-{next(world.order)}", owners)

    world.at(0.0, disturb)
    world.run(1500.0)
    return world


@pytest.mark.parametrize("number", range(40))
def test_never_two_may_write_and_nobody_goes_on_after_another(chance: random.Random, number: int) -> None:
    world = simulate(chance)
    assert world.history, "somebody held the lease"


def test_the_simulation_reaches_what_it_is_for(chance: random.Random) -> None:
    worlds = [simulate(chance) for _ in range(10)]
    ended = {name for world in worlds for name in world.ended}
    assert {"Refused", "Superseded"} <= ended
    assert sum(world.regained for world in worlds) > 0
    assert sum(world.readmitted for world in worlds) > 0
    assert max(len(world.history) for world in worlds) > 3
