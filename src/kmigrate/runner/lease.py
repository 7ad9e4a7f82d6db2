"""One owner at a time may write for a migration; the target's group coordinator decides who.

The owner is a member of the group `kmigrate-<name>` (classic protocol, protocol type `kmigrate`). Each member says
in its JoinGroup who it is and which term it holds. The group's leader assigns: who holds a term keeps the lease,
else the leader takes it. As long as the coordinator knows a member id, its lease cannot pass to another: every later
generation shows the leader that claim, and nobody else can have a higher one. A newcomer learns who holds the lease,
and leaves. A frozen or dead holder is dropped after its session; the newcomer's JoinGroup waits for that.

A grant ends 0.6 sessions after the *sending* of the last request that the coordinator answered well. So it ends
before the coordinator may give the lease away, however late the answer came, and workers stop by themselves.

A holder whose member id is unknown to the coordinator was dropped. It goes on only if it can show that nobody held
the lease meanwhile: the group is Empty (DescribeGroups), and the next JoinGroup brings exactly the old generation
+ 2. Measured on 3.9.1 (both group coordinators) and 4.3.1: emptying the group raises the generation by one, joining
an empty one by one more. The generation alone is no proof: somebody who joined before our session was over and then
died leads to + 2 as well, but without an Empty group in between. A group that is gone (emptied, without commits, and
cleaned up) proves nothing. Whatever is not proven is `Superseded`, even if it was only our own join cut in the middle.

Not covered: a coordinator that is cut off from its own cluster but not from us answers heartbeats out of its memory
while its successor drops us. Only a commit would fail there.

`LeaseMachine` decides and does no I/O; `Lease` drives it on a thread; `NoLease` is what a test puts in its place.
Sources: KIP-394 (member ids), KIP-848 (the newer coordinator keeps classic groups too); GroupCoordinator.scala,
GroupMetadataManager.java.
"""

from __future__ import annotations

import contextlib
import enum
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.clock import steady_seconds
from kmigrate.cluster.connection import Connection, ConnectionSettings
from kmigrate.copy.orders import LeaseGrant
from kmigrate.errors import (
    Blocked,
    BrokerRefused,
    ClusterError,
    ConnectionLost,
    KmigrateError,
    Refused,
    Superseded,
    Unreachable,
)
from kmigrate.kafka_types import BrokerAddress, Side, Term, TopicPartition
from kmigrate.wire import group_calls
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.group_calls import Coordinator, GroupDescription, GroupMember, Joined, Synced

PROTOCOL_TYPE = "kmigrate"
PROTOCOL = "lease"
GRANT_SHARE = 0.6
"""Which part of a session a grant lasts; the rest is for clocks that drift and for a request on its way."""
_BEATS_PER_SESSION = 6
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0
_PAST = 0.0  # the monotonic clock's beginning: the deadline of a revoked grant
_HOLDER = b"holder"
_HELD_BY = b"held by "
_EMPTY = "Empty"
_DEAD = "Dead"
_INVALID_GROUP_ID = 24
_INVALID_SESSION_TIMEOUT = 26
_COORDINATOR_ERRORS = frozenset(
    {
        int(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
        int(ErrorCode.COORDINATOR_NOT_AVAILABLE),
        int(ErrorCode.NOT_COORDINATOR),
    }
)
_RELEASE_SECONDS = 0.5  # for each of the few things that a release waits for
_CHUNK_BYTES = 256 * 1024
_COMMIT_OVERHEAD_BYTES = 100


# -- What members tell each other ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a member says of itself: who it is, and the term it holds, if any."""

    owner: str
    term: Term | None = None

    def serialize(self) -> bytes:
        return json.dumps({"owner": self.owner, "term": self.term}).encode()


def parse_claim(metadata: bytes) -> Claim:
    """The claim in a member's metadata; what cannot be understood claims nothing."""
    try:
        said = json.loads(metadata)
        owner, term = said["owner"], said["term"]
    except (ValueError, TypeError, KeyError):
        return Claim(owner="a member that does not say who it is")
    return Claim(owner=str(owner), term=Term(term) if type(term) is int else None)


def decide_holder(members: Sequence[GroupMember], leader: str) -> str:
    """The member id that is to hold the lease: the claimant of the highest term, else the leader."""
    claims = [(claim.term, member.member_id) for member in members if (claim := _claim_of(member)).term is not None]
    return max(claims)[1] if claims else leader


def decide_assignments(members: Sequence[GroupMember], leader: str) -> Mapping[str, bytes]:
    """What the group's leader assigns: the lease to one member, the holder's name to all others."""
    holder = decide_holder(members, leader)
    owners = {member.member_id: _claim_of(member).owner for member in members}
    others = _HELD_BY + owners.get(holder, "the leader of the group").encode()
    return {member_id: _HOLDER if member_id == holder else others for member_id in owners}


def _claim_of(member: GroupMember) -> Claim:
    return parse_claim(member.metadata)


# -- What has to be done next ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FindCoordinator:
    """Ask any broker who coordinates the group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveMemberId:
    """Save the member id where a successor finds it; only then is it used."""

    member_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Take a member out of the group: the dead predecessor, or ourselves."""

    member_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """Ask for the state of the group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Join the group; takes long while the coordinator waits for others."""

    member_id: str
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """Ask for our assignment, and bring everybody's if we lead."""

    generation: int
    member_id: str
    assignments: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Send a heartbeat."""

    generation: int
    member_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Do nothing until the monotonic clock shows this."""

    until_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Nothing is left to be done: we do not hold the lease, and will not."""

    error: KmigrateError


Step = FindCoordinator | SaveMemberId | Leave | Describe | Join | Sync | Beat | Pause | Ended


class _State(enum.Enum):
    """What the next request is about."""

    LEAVING_FOR_PREDECESSOR = enum.auto()
    DESCRIBING = enum.auto()  # only on the way back
    JOINING = enum.auto()
    SYNCING = enum.auto()
    HOLDING = enum.auto()
    LEAVING = enum.auto()
    ENDED = enum.auto()


class LeaseMachine:
    """Decides the next step from the answers so far; no I/O, and the time comes in as a value.

    ::

        LEAVING_FOR_PREDECESSOR → JOINING ⇄ SYNCING → HOLDING      at the start
        HOLDING → JOINING → SYNCING → HOLDING                      rebalance: still ours
        HOLDING → DESCRIBING → JOINING → SYNCING → HOLDING         dropped, and nobody came in between
        any → LEAVING → ENDED                                      another one holds it: `error` says who

    A step that failed for want of a coordinator or a connection is repeated after FindCoordinator, with growing pauses,
    for as long as it takes.
    """

    def __init__(self, *, group_id: str, owner: str, session_seconds: float, predecessor_member_id: str | None) -> None:
        self.trouble = ""
        """Why there is no good answer at the moment; empty if there is."""
        self.error: KmigrateError | None = None
        self.grant: LeaseGrant | None = None
        self._group_id = group_id
        self._owner = owner
        self._session_seconds = session_seconds
        self._predecessor = predecessor_member_id
        self._state = _State.LEAVING_FOR_PREDECESSOR if predecessor_member_id else _State.JOINING
        self._member_id = ""
        self._saved_member_id = ""
        self._generation = -1
        self._assignments: Mapping[str, bytes] = {}
        self._term: Term | None = None
        self._dropped = False
        self._coordinator_known = False
        self._beat_due_seconds = 0.0
        self._not_before_seconds = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    @property
    def member_id(self) -> str:
        """Our id in the group; empty while the coordinator has given none."""
        return self._member_id

    @property
    def membership(self) -> tuple[int, str] | None:
        """Generation and member id that fence a commit; None while we do not hold the lease."""
        if self._term is None or self._dropped or self._state in (_State.LEAVING, _State.ENDED):
            return None
        return self._term, self._member_id

    def next_step(self, now: float) -> Step:
        """What to do now; asking changes nothing."""
        if self._state is _State.ENDED:
            assert self.error is not None, "the machine ends with a reason"
            return Ended(error=self.error)
        if now < self._not_before_seconds:
            return Pause(until_seconds=self._not_before_seconds)
        if self._member_id and self._member_id != self._saved_member_id:
            return SaveMemberId(member_id=self._member_id)
        if not self._coordinator_known:
            return FindCoordinator()
        return self._request(now)

    def _request(self, now: float) -> Step:
        match self._state:
            case _State.LEAVING_FOR_PREDECESSOR:
                return Leave(member_id=self._predecessor or "")
            case _State.DESCRIBING:
                return Describe()
            case _State.JOINING:
                claim = Claim(owner=self._owner, term=None if self._dropped else self._term)
                return Join(member_id=self._member_id, metadata=claim.serialize())
            case _State.SYNCING:
                return Sync(generation=self._generation, member_id=self._member_id, assignments=self._assignments)
            case _State.HOLDING if now < self._beat_due_seconds:
                return Pause(until_seconds=self._beat_due_seconds)
            case _State.HOLDING:
                return Beat(generation=self._generation, member_id=self._member_id)
            case _:
                return Leave(member_id=self._member_id)

    # -- answers

    def on_failed(self, reason: str, now: float) -> None:
        """No answer: the step is repeated later, after the coordinator was looked for anew."""
        if self._state is _State.LEAVING:
            self._state = _State.ENDED  # politeness is tried once; the coordinator drops us after the session
            return
        self.trouble = reason
        self._coordinator_known = False
        self._not_before_seconds = now + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def on_member_id_saved(self) -> None:
        self._saved_member_id = self._member_id

    def on_coordinator(self, found: Coordinator, now: float) -> None:
        if found.error:
            self._refused("FindCoordinator", found.error, now)
        else:
            self._coordinator_known = True

    def on_left(self, error: int, now: float) -> None:
        if self._state is _State.LEAVING:
            self._state = _State.ENDED
        elif error in (ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID):
            self._answered(_State.JOINING)
        else:
            self._refused("LeaveGroup", error, now)

    def on_described(self, group: GroupDescription, now: float) -> None:
        if group.error:
            self._refused("DescribeGroups", group.error, now)
        elif group.state == _EMPTY:
            self._answered(_State.JOINING)
        elif group.state == _DEAD:
            self._supersede("the coordinator has forgotten the group: who held the lease meanwhile cannot be known")
        else:
            owners = ", ".join(sorted(_claim_of(m).owner for m in group.members if m.metadata))
            self._supersede(f"the lease was taken over by {owners or 'another owner'}")

    def on_joined(self, joined: Joined, now: float) -> None:
        if joined.error == ErrorCode.MEMBER_ID_REQUIRED:
            self._member_id = joined.member_id
        elif joined.error == ErrorCode.UNKNOWN_MEMBER_ID:
            self._drop(now)
        elif joined.error:
            self._refused("JoinGroup", joined.error, now)
        else:
            self._member_id = joined.member_id
            self._generation = joined.generation
            leads = joined.leader == joined.member_id
            self._assignments = decide_assignments(joined.members, joined.leader) if leads else {}
            self._answered(_State.SYNCING)

    def on_synced(self, synced: Synced, sent_at: float, now: float) -> None:
        match synced.error:
            case ErrorCode.NONE if synced.assignment == _HOLDER:
                self._hold(sent_at)
            case ErrorCode.NONE:
                self._other_holds(synced.assignment.removeprefix(_HELD_BY).decode(errors="replace"))
            case ErrorCode.REBALANCE_IN_PROGRESS | ErrorCode.ILLEGAL_GENERATION:
                self._answered(_State.JOINING)
            case ErrorCode.UNKNOWN_MEMBER_ID:
                self._drop(now)
            case error:
                self._refused("SyncGroup", error, now)

    def on_beat(self, error: int, sent_at: float, now: float) -> None:
        match error:
            case ErrorCode.NONE:
                self._renew(sent_at)
            # Still a member, only the generation is over: joining with our claim keeps the lease.
            case ErrorCode.REBALANCE_IN_PROGRESS | ErrorCode.ILLEGAL_GENERATION:
                self._answered(_State.JOINING)
            case ErrorCode.UNKNOWN_MEMBER_ID:
                self._drop(now)
            case _:
                self._refused("Heartbeat", error, now)

    def check_now(self) -> None:
        """Makes the next heartbeat due at once: something casts doubt on our membership."""
        self._beat_due_seconds = 0.0

    # -- consequences

    def _answered(self, state: _State) -> None:
        self._state = state
        self.trouble = ""
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    def _hold(self, sent_at: float) -> None:
        if self._dropped:
            assert self._term is not None, "only a holder can have been dropped"
            if self._generation != self._term + 2:
                self._supersede(f"another owner held the lease between term {self._term} and term {self._generation}")
                return
        self._dropped = False
        self._term = Term(self._generation)
        self._renew(sent_at)

    def _renew(self, sent_at: float) -> None:
        assert self._term is not None, "only a holder's grant is renewed"
        self._answered(_State.HOLDING)
        self._beat_due_seconds = sent_at + self._session_seconds / _BEATS_PER_SESSION
        deadline = sent_at + self._session_seconds * GRANT_SHARE
        self.grant = LeaseGrant(term=self._term, deadline_seconds=deadline)

    def _drop(self, now: float) -> None:
        """The coordinator does not know our member id (any more)."""
        self._member_id = ""
        if self._term is None:
            self._state = _State.JOINING
            self._not_before_seconds = now + self._pause_seconds
            return
        self.grant = LeaseGrant(term=self._term, deadline_seconds=_PAST)
        self._dropped = True
        self._answered(_State.DESCRIBING)

    def _other_holds(self, owner: str) -> None:
        if self._term is not None:
            self._supersede(f"the lease is held by {owner} now")
            return
        hint = "stop that owner first; if it is dead, its lease ends with its session"
        self._end(Refused(f"this migration is being run by {owner}", hint=hint))

    def _supersede(self, message: str) -> None:
        if self._term is not None:
            self.grant = LeaseGrant(term=self._term, deadline_seconds=_PAST)
        hint = "nothing more is written from here; see who runs the migration before starting it again"
        self._end(Superseded(message, hint=hint))

    def _refused(self, what: str, error: int, now: float) -> None:
        """An error that says nothing about the lease: fatal at the start if it will not pass, else tried again."""
        reason = f"{what}: {error_name(error)} ({error})"
        fatal = _fatal_error(error, self._group_id)
        if fatal is not None and self._term is None:
            self._end(fatal)
        elif error == ErrorCode.INCONSISTENT_GROUP_PROTOCOL:
            self._supersede(f"the group {self._group_id} is in use for something else ({reason})")
        else:
            self.on_failed(reason, now)

    def _end(self, error: KmigrateError) -> None:
        self.error = error
        self._state = _State.LEAVING if self._member_id and self._coordinator_known else _State.ENDED


def _fatal_error(error: int, group_id: str) -> KmigrateError | None:
    """What no repetition mends, said so that the operator can."""
    match error:
        case ErrorCode.GROUP_AUTHORIZATION_FAILED:
            return Blocked(
                f"no right to use the group {group_id} on the target cluster",
                hint=f"kafka-acls … --add --allow-principal User:… --group {group_id} --operation READ",
            )
        case ErrorCode.INCONSISTENT_GROUP_PROTOCOL:
            return Blocked(
                f"the group {group_id} on the target cluster is in use for something else than a lease",
                hint="see kafka-consumer-groups --describe --members; choose another name for the migration",
            )
        case _ if error == _INVALID_GROUP_ID:
            return Blocked(f"the target cluster does not accept the group id {group_id}")
        case _ if error == _INVALID_SESSION_TIMEOUT:
            return Blocked(
                "the target cluster does not accept the lease's session time-out",
                hint="group.min.session.timeout.ms and group.max.session.timeout.ms on the brokers bound it",
            )
        case _:
            return None


# -- Doing it --------------------------------------------------------------------------------------


class Lease:
    """The lease of one migration, kept by a thread of its own.

    Callbacks come from that thread, during `acquire` from its caller's: `on_member_id` must have saved the id when it
    returns; `on_grant` gets every grant, also a revoked one (deadline past); `on_superseded` is the last to be called.
    """

    def __init__(
        self,
        side: Side,
        bootstrap: Sequence[tuple[str, int]],
        settings: ConnectionSettings,
        *,
        group_id: str,
        owner: str,
        on_member_id: Callable[[str], None],
        on_grant: Callable[[LeaseGrant], None] = lambda grant: None,
        on_superseded: Callable[[Superseded], None] = lambda error: None,
        predecessor_member_id: str | None = None,
        session_timeout_ms: int = 10_000,
        clock: Callable[[], float] = steady_seconds,
    ) -> None:
        self._side = side
        self._bootstrap = tuple(bootstrap)
        self._group_id = group_id
        self._session_timeout_ms = session_timeout_ms
        self._on_member_id = on_member_id
        self._on_grant = on_grant
        self._on_superseded = on_superseded
        self._clock = clock
        self._machine = LeaseMachine(
            group_id=group_id,
            owner=owner,
            session_seconds=session_timeout_ms / 1000,
            predecessor_member_id=predecessor_member_id,
        )
        # A request that takes a third of a session is not waited for: it is time to look for another coordinator.
        quick_ms = session_timeout_ms // 3
        self._settings = replace(
            settings,
            request_timeout_ms=min(settings.request_timeout_ms, quick_ms),
            connect_timeout_ms=min(settings.connect_timeout_ms, quick_ms),
        )
        # A JoinGroup waits for a frozen member's session or rebalance time-out, and for the initial rebalance delay.
        self._join_timeout_ms = 2 * session_timeout_ms + 5_000
        self._link = _CoordinatorLink(side, self._bootstrap, self._settings, group_id)
        self._slow: Connection | None = None
        self._commits = _CoordinatorLink(side, self._bootstrap, settings, group_id)
        self._commit_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._check_wanted = threading.Event()
        self._released = threading.Event()
        self._grant: LeaseGrant | None = None

    # -- for the owner

    @property
    def superseded(self) -> Superseded | None:
        """Why the lease is lost for good; None while it is not."""
        error = self._machine.error
        return error if isinstance(error, Superseded) else None

    @property
    def trouble(self) -> str:
        """Why the coordinator gives no good answer at the moment; empty if it does."""
        return self._machine.trouble

    def acquire(self, timeout_seconds: float) -> LeaseGrant:
        """Takes the lease, or raises: Refused names the holder, Blocked a missing right, Unreachable the last trouble.

        A frozen or dead holder is waited for: give at least two sessions.
        """
        deadline = self._clock() + timeout_seconds
        try:
            self._drive(until=deadline)
            grant = self._machine.grant
            if grant is None:
                raise self._machine.error or self._not_acquired(timeout_seconds)
        except BaseException:
            self.release()
            raise
        self._thread = threading.Thread(target=self._keep, name=f"lease {self._group_id}", daemon=True)
        self._thread.start()
        return grant

    def _not_acquired(self, timeout_seconds: float) -> Unreachable:
        trouble = self._machine.trouble or "the group coordinator did not complete the join"
        return Unreachable(
            f"no lease of the group {self._group_id} within {timeout_seconds:g} s: {trouble}",
            side=self._side,
            hint="a frozen owner is dropped after its session; a group coordinator must be reachable from here",
        )

    def grant(self) -> LeaseGrant:
        """The newest grant; its deadline may be past."""
        if self._grant is None:
            raise RuntimeError("the lease was never acquired")
        return self._grant

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> Mapping[TopicPartition, str]:
        """Commits (offset, metadata), fenced by the term; returns what was not committed, with the reason.

        A fenced commit makes the thread ask at once whether the lease is still ours. What failed is the caller's to
        repeat. Topics must exist on the target. From any thread.
        """
        membership = self._machine.membership
        if membership is None or self._released.is_set():
            return dict.fromkeys(offsets, "the lease is not held")
        failures: dict[TopicPartition, str] = {}
        with self._commit_lock:
            for chunk in split_commits(offsets):
                failures.update(self._commit_chunk(membership, chunk))
        return failures

    def _commit_chunk(
        self, membership: tuple[int, str], chunk: Mapping[TopicPartition, tuple[int, str]]
    ) -> dict[TopicPartition, str]:
        call = group_calls.offset_commit(self._group_id, *membership, chunk)
        try:
            answer = self._commits.connection().call(call)
        except KmigrateError as error:
            self._commits.forget()
            return dict.fromkeys(chunk, str(error))
        failed = {partition: code for partition, code in answer.items() if code}
        if failed:
            self._doubt(set(failed.values()))
        return {partition: f"{error_name(code)} ({code})" for partition, code in failed.items()}

    def _doubt(self, codes: set[int]) -> None:
        if codes & {ErrorCode.ILLEGAL_GENERATION, ErrorCode.UNKNOWN_MEMBER_ID}:
            self._check_wanted.set()
            self._wake.set()
        if codes & _COORDINATOR_ERRORS:
            self._commits.forget()

    def committed(self, timeout_seconds: float = 30.0) -> Mapping[TopicPartition, tuple[int, str]]:
        """What was committed by whoever held the lease: (offset, metadata). Needs no lease. From any thread."""
        deadline = self._clock() + timeout_seconds
        while True:
            with self._commit_lock:
                try:
                    return self._fetch_commits()
                except ClusterError as error:
                    self._commits.forget()
                    passes = isinstance(error, (Unreachable, ConnectionLost)) or (
                        isinstance(error, BrokerRefused) and error.code in _COORDINATOR_ERRORS
                    )
                    if not passes or self._clock() >= deadline or self._released.is_set():
                        raise
            self._released.wait(_FIRST_PAUSE_SECONDS)

    def _fetch_commits(self) -> Mapping[TopicPartition, tuple[int, str]]:
        answer = self._commits.connection().call(group_calls.offset_fetch(self._group_id))
        codes = (answer.error, *(each.error for each in answer.partitions.values()))
        refused = next(filter(None, codes), None)
        if refused is not None:
            raise self._commits.refusal("OffsetFetch", refused)
        return {
            partition: (each.offset, each.metadata) for partition, each in answer.partitions.items() if each.offset >= 0
        }

    def release(self) -> None:
        """Leaves the group, so that the next owner need not wait; takes no longer than a couple of seconds.

        Before this, workers must have stopped: the next owner may write at once. Safe to call twice.
        """
        if self._released.is_set():
            return
        coordinator = self._link.address  # the thread forgets it when it ends
        self._released.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_RELEASE_SECONDS)
        if self._machine.member_id and coordinator is not None:
            self._leave_quickly(coordinator)
        if self._thread is None or not self._thread.is_alive():
            self._close()

    def _leave_quickly(self, coordinator: BrokerAddress) -> None:
        """Leaves on a connection of its own, since the thread may be waiting on the other."""
        brief_ms = round(_RELEASE_SECONDS * 1000)
        brief = replace(self._settings, request_timeout_ms=brief_ms, connect_timeout_ms=brief_ms)
        with contextlib.suppress(KmigrateError):
            connection = Connection(self._side, coordinator, brief)
            with contextlib.closing(connection):
                connection.call(group_calls.leave_group(self._group_id, self._machine.member_id))

    # -- the thread

    def _keep(self) -> None:
        try:
            self._drive(until=math.inf)
        finally:
            self._close()
        if self.superseded is not None and not self._released.is_set():
            self._on_superseded(self.superseded)

    def _drive(self, until: float) -> None:
        """Does what the machine wants until it ends, the lease is released or, at the start, acquired or too late."""
        starting = until < math.inf
        while not self._released.is_set():
            now = self._clock()
            step = self._machine.next_step(now)
            if isinstance(step, Ended) or now >= until:
                return
            if isinstance(step, Pause):
                self._pause(min(step.until_seconds, until) - now)
            else:
                self._perform(step, until)
            self._publish()
            if starting and self._machine.grant is not None:
                return

    def _pause(self, seconds: float) -> None:
        self._wake.wait(max(0.0, seconds))
        self._wake.clear()
        if self._check_wanted.is_set():
            self._check_wanted.clear()
            self._machine.check_now()

    def _publish(self) -> None:
        grant = self._machine.grant
        if grant is not None and grant is not self._grant:
            self._grant = grant
            self._on_grant(grant)

    def _perform(self, step: Step, until: float) -> None:
        sent_at = self._clock()
        try:
            self._ask(step, sent_at, until)
        except KmigrateError as error:
            if self._grant is None and not isinstance(error, (Unreachable, ConnectionLost)):
                raise  # an old broker, a wrong password: no repetition mends it
            self._lose_connections()
            self._machine.on_failed(str(error), self._clock())

    def _ask(self, step: Step, sent_at: float, until: float) -> None:
        machine, group_id = self._machine, self._group_id
        match step:
            case SaveMemberId():
                self._on_member_id(step.member_id)
                machine.on_member_id_saved()
            case FindCoordinator():
                self._lose_connections()
                machine.on_coordinator(self._link.find(), self._clock())
            case Leave():
                left = self._link.connection().call(group_calls.leave_group(group_id, step.member_id))
                machine.on_left(left, self._clock())
            case Describe():
                group = self._link.connection().call(group_calls.describe_group(group_id))
                machine.on_described(group, self._clock())
            case Join():
                call = group_calls.join_group(
                    group_id,
                    step.member_id,
                    session_timeout_ms=self._session_timeout_ms,
                    rebalance_timeout_ms=self._session_timeout_ms,
                    protocol_type=PROTOCOL_TYPE,
                    protocol=PROTOCOL,
                    metadata=step.metadata,
                )
                machine.on_joined(self._patient_connection(until).call(call), self._clock())
            case Sync():
                sync = group_calls.sync_group(group_id, step.generation, step.member_id, step.assignments)
                machine.on_synced(self._patient_connection(until).call(sync), sent_at, self._clock())
                self._close_patient()
            case Beat():
                beat = group_calls.heartbeat(group_id, step.generation, step.member_id)
                machine.on_beat(self._link.connection().call(beat), sent_at, self._clock())
            case Pause() | Ended():
                pass
            case _:
                assert_never(step)

    def _patient_connection(self, until: float) -> Connection:
        """A connection of its own for what takes longer than a heartbeat may."""
        if self._slow is None:
            left_ms = self._join_timeout_ms
            if until < math.inf:
                left_ms = max(1, min(left_ms, round((until - self._clock()) * 1000)))
            self._slow = self._link.open(replace(self._settings, request_timeout_ms=left_ms))
        return self._slow

    def _close_patient(self) -> None:
        if self._slow is not None:
            self._slow.close()
            self._slow = None

    def _lose_connections(self) -> None:
        self._close_patient()
        self._link.forget()

    def _close(self) -> None:
        self._close_patient()
        self._link.close()
        if self._commit_lock.acquire(timeout=_RELEASE_SECONDS):
            try:
                self._commits.close()
            finally:
                self._commit_lock.release()


class _CoordinatorLink:
    """The way to a group's coordinator; one thread at a time."""

    def __init__(
        self, side: Side, bootstrap: Sequence[tuple[str, int]], settings: ConnectionSettings, group_id: str
    ) -> None:
        self._side = side
        self._settings = settings
        self._group_id = group_id
        self._client = ClusterClient(side, bootstrap, settings)
        self.address: BrokerAddress | None = None
        self._connection: Connection | None = None

    def find(self) -> Coordinator:
        """Asks who the coordinator is; with an error in the answer it stays unknown."""
        self._client.metadata([])  # all brokers' addresses: the bootstrap's may be the one that is down
        found = self._client.any(group_calls.find_coordinator(self._group_id))
        self.address = None if found.error else found.address
        return found

    def connection(self) -> Connection:
        """The connection to the coordinator, found and opened if need be."""
        if self._connection is None:
            self._connection = self.open(self._settings)
        return self._connection

    def open(self, settings: ConnectionSettings) -> Connection:
        """One more connection to the coordinator."""
        if self.address is None:
            found = self.find()
            if found.error:
                raise self.refusal("FindCoordinator", found.error)
        assert self.address is not None
        return Connection(self._side, self.address, settings)

    def refusal(self, what: str, code: int) -> KmigrateError:
        """The exception for an error code."""
        if code == ErrorCode.GROUP_AUTHORIZATION_FAILED:
            fatal = _fatal_error(code, self._group_id)
            assert fatal is not None
            return fatal
        return BrokerRefused(what, code=code, name=error_name(code), side=self._side)

    def forget(self) -> None:
        """Drops connection and address: the coordinator is looked for anew."""
        self.address = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.forget()
        self._client.close()


def split_commits(
    offsets: Mapping[TopicPartition, tuple[int, str]],
) -> Iterator[dict[TopicPartition, tuple[int, str]]]:
    """The commits in parts that each fit into one batch of the coordinator's log (1 MB)."""
    chunk: dict[TopicPartition, tuple[int, str]] = {}
    size = 0
    for partition, (offset, metadata) in offsets.items():
        needed = len(partition.topic) + len(metadata.encode()) + _COMMIT_OVERHEAD_BYTES
        if chunk and size + needed > _CHUNK_BYTES:
            yield chunk
            chunk, size = {}, 0
        chunk[partition] = (offset, metadata)
        size += needed
    if chunk:
        yield chunk


class NoLease:
    """A lease that nobody keeps: always granted, never ending, committing nothing.

    For tests that show what the sequence guard is worth alone.
    """

    superseded: Superseded | None = None
    trouble = ""

    def __init__(self, term: int = 1) -> None:
        self._grant = LeaseGrant(term=Term(term), deadline_seconds=math.inf)

    def acquire(self, timeout_seconds: float) -> LeaseGrant:
        return self._grant

    def grant(self) -> LeaseGrant:
        return self._grant

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> Mapping[TopicPartition, str]:
        return {}

    def committed(self, timeout_seconds: float = 30.0) -> Mapping[TopicPartition, tuple[int, str]]:
        return {}

    def release(self) -> None:
        pass
