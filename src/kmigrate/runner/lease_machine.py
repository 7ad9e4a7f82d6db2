"""Who is to hold the lease, and what has to be done next to get or keep it.  (no I/O; the time comes in as a value)

The owner is a member of the group `kmigrate-<name>` (classic protocol, protocol type `kmigrate`). Each member says
in its JoinGroup who it is and which term it holds. The group's leader assigns: who holds a term keeps the lease,
else the leader takes it. As long as the coordinator knows a member id, its lease cannot pass to another: every later
generation shows the leader that claim, and nobody else can have a higher one. A newcomer learns who holds the lease,
and leaves. A frozen or dead holder is dropped after its session; the newcomer's JoinGroup waits for that.

A holder whose member id is unknown to the coordinator was dropped. It goes on only if it can show that nobody held
the lease meanwhile: the group is Empty (DescribeGroups), and the next JoinGroup, at the same coordinator, brings
exactly the old generation + 2. Measured on 3.9.1 (both group coordinators) and 4.3.1: emptying the group raises the
generation by one, joining an empty one by one more. The generation alone is no proof: somebody who joined before our
session was over and then died leads to + 2 as well, but without an Empty group in between. A group that is gone
(emptied, without commits, and cleaned up) proves nothing, and neither does one that may have been forgotten and begun
anew: it must hold commits, which keep it for days (`offsets.retention.minutes`), and we must not have been away for
long. Whatever is not proven is `Superseded`, even if it was only our own join cut in the middle.
Who leads that generation has proven it, since nobody else can assign in it: from then on its new member id keeps the
claim, however many generations it takes until a SyncGroup succeeds (a coordinator that cannot replicate refuses each
after 5 s).

Such a coordinator (4.x) also holds heartbeats back behind a commit that waits for a follower. They keep us a member
all the same, so they go on being sent, though nothing is granted without their answers.

Sources: KIP-394 (member ids), KIP-848 (the newer coordinator keeps classic groups too); GroupCoordinator.scala,
GroupMetadataManager.java.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kmigrate.copy.orders import LeaseGrant
from kmigrate.errors import (
    Blocked,
    KmigrateError,
    Refused,
    Superseded,
)
from kmigrate.kafka_types import Term
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
_LONGEST_ABSENCE_SECONDS = 12 * 3600.0
"""How long a group with commits is certainly not forgotten; by default it is seven days."""
_PAST = 0.0  # the monotonic clock's beginning: the deadline of a revoked grant
_HOLDER = b"holder"
_HELD_BY = b"held by "
_EMPTY = "Empty"
_DEAD = "Dead"
_INVALID_GROUP_ID = 24
_INVALID_SESSION_TIMEOUT = 26


# -- What members tell each other


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


# -- What has to be done next


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
        self._readmitted = False
        self._holds_commits = False
        self._renewed_at_seconds = 0.0
        self._absent_seconds = 0.0
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
        if self._term is None or self._dropped or self._readmitted or self._state in (_State.LEAVING, _State.ENDED):
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
        if self._dropped and self._state is _State.JOINING and not self._member_id:
            self._state = (
                _State.DESCRIBING
            )  # the next coordinator may know of another holder: who was empty is asked anew
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
            if self._dropped and leads and self._nobody_came():
                self._dropped, self._readmitted = False, True
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

    def on_commit_seen(self) -> None:
        """The group is known to hold a commit. From any thread."""
        self._holds_commits = True

    def check_now(self) -> None:
        """Makes the next heartbeat due at once: something casts doubt on our membership."""
        self._beat_due_seconds = 0.0

    # -- consequences

    def _answered(self, state: _State) -> None:
        self._state = state
        self.trouble = ""
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    def _hold(self, sent_at: float) -> None:
        if self._dropped and not self._nobody_came():
            doubt = "" if self._is_remembered else "it cannot be known whether "
            self._supersede(
                f"{doubt}another owner held the lease between term {self._term} and term {self._generation}"
            )
            return
        self._dropped = self._readmitted = False
        self._term = Term(self._generation)
        self._renew(sent_at)

    @property
    def _is_remembered(self) -> bool:
        """Whether the group cannot have been forgotten meanwhile, so that its generations would have begun anew."""
        return self._holds_commits and self._absent_seconds < _LONGEST_ABSENCE_SECONDS

    def _nobody_came(self) -> bool:
        """Whether the generation shows that the group was empty, and ours is the first join since."""
        assert self._term is not None, "only a holder can have been dropped"
        return self._is_remembered and self._generation == self._term + 2

    def _renew(self, sent_at: float) -> None:
        assert self._term is not None, "only a holder's grant is renewed"
        self._answered(_State.HOLDING)
        self._renewed_at_seconds = sent_at
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
        self._dropped, self._readmitted = True, False
        self._absent_seconds = now - self._renewed_at_seconds
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
        fatal = fatal_error(error, self._group_id)
        if fatal is not None and self._term is None:
            self._end(fatal)
        elif error == ErrorCode.INCONSISTENT_GROUP_PROTOCOL:
            self._supersede(f"the group {self._group_id} is in use for something else ({reason})")
        else:
            self.on_failed(reason, now)

    def _end(self, error: KmigrateError) -> None:
        self.error = error
        self._state = _State.LEAVING if self._member_id and self._coordinator_known else _State.ENDED


def fatal_error(error: int, group_id: str) -> KmigrateError | None:
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
