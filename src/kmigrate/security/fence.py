"""What a fence is: what keeps applications from writing to topics, what was there before, until when.  (pure)

Rule: everything that is needed to take a fence away is in it before anything is put, so that whoever reads it, in
whatever process, at whatever time, can lift it exactly. A fence stands while somebody confirms it: `is_due` says when
nobody did for too long. What is due is never confirmed again, only lifted.

::

    PUTTING ──→ STANDING
       └────┬──────┘
            ↓
         LIFTING ──→ LIFTED
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kmigrate.kafka_types import Side, TopicName
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType

EVERYONE = "User:*"
MIN_ISR = "min.insync.replicas"
MOST_EVENTS = 50
"""How much of its story a fence keeps."""
LATE_SECONDS = 60.0
"""A request of whoever was killed while putting a fence may still arrive so long after it."""
UNSETTLED_SECONDS = 86_400.0
"""Where nobody looked afterwards it is looked for so long; what is there later is somebody else's."""


class FenceKind(enum.Enum):
    """How writers are kept away."""

    ACL = "acl"
    """A DENY of WRITE. Most clients take the refusal as final; super users pass."""
    MIN_ISR = "min-isr"
    """`min.insync.replicas` above the replica count. Clients retry; who writes with acks 0 or 1 passes."""


class FencePhase(enum.Enum):
    """How far a fence is."""

    PUTTING = "PUTTING"
    """Decided; all, a part or nothing of it may be there."""
    STANDING = "STANDING"
    """Every broker showed it."""
    LIFTING = "LIFTING"
    """To be taken away; a part of it may still be there."""
    LIFTED = "LIFTED"
    """Nothing of ours is left."""


class Instant(NamedTuple):
    """A time by both clocks: the steady one counts from this boot of the machine."""

    boot: str
    steady_seconds: float
    wall_ms: int

    def seconds_until(self, later: Instant) -> float:
        """How long it is from here to there; after a restart of the machine by the wall clock, else by the other."""
        if self.boot == later.boot:
            return later.steady_seconds - self.steady_seconds
        return (later.wall_ms - self.wall_ms) / 1000


class AclPiece(NamedTuple):
    """A rule of a fence; one that `was_there` before stays when the fence is lifted."""

    acl: Acl
    was_there: bool


class SettingPiece(NamedTuple):
    """A topic's own `min.insync.replicas`: as it was (None: the broker's default), and as the fence has it."""

    topic: TopicName
    before: str | None
    wanted: str


class Event(NamedTuple):
    """What happened to a fence, and when."""

    at_ms: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """One fence. `principals` are those that are denied; of kind min-isr there are none.

    `bootstrap` and `is_secured` are for the command line that removes it by hand. `confirmed` is when somebody said
    last that it is to stand on, `period_seconds` for how long that is good. `stood` says whether all brokers ever
    showed it; `ended` when it was lifted; `left` what somebody changed meanwhile, so that it was left as it is. `tries`
    counts the puttings that began before it stood; `cut` is when the last of them found that another one had not ended.
    `settled`: somebody looked for what came late once nothing could come any more.
    """

    number: int
    side: Side
    kind: FenceKind
    topics: tuple[TopicName, ...]
    principals: tuple[str, ...] = ()
    acls: tuple[AclPiece, ...] = ()
    settings: tuple[SettingPiece, ...] = ()
    cluster_id: str
    bootstrap: str
    is_secured: bool = False
    period_seconds: float
    phase: FencePhase = FencePhase.PUTTING
    begun: Instant
    confirmed: Instant
    stood: bool = False
    tries: int = 0
    cut: Instant | None = None
    ended: Instant | None = None
    settled: bool = False
    left: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def is_wanted(self) -> bool:
        """Whether it is to stand."""
        return self.phase in (FencePhase.PUTTING, FencePhase.STANDING)

    def is_same(self, other: Fence) -> bool:
        """Whether both keep the same writers from the same topics in the same way."""
        return (self.side, self.kind, self.topics, self.principals, self.cluster_id) == (
            other.side,
            other.kind,
            other.topics,
            other.principals,
            other.cluster_id,
        )

    def overlaps(self, other: Fence) -> bool:
        """Whether both are about a topic of the same cluster."""
        return self.side is other.side and not set(self.topics).isdisjoint(other.topics)

    def seconds_left(self, now: Instant) -> float:
        """How long it stands without another confirmation."""
        return self.period_seconds - self.confirmed.seconds_until(now)

    def is_due(self, now: Instant) -> bool:
        """Whether it is to be lifted because nobody confirmed it; also where a clock that went back hides it."""
        return self.is_wanted and not 0 < self.seconds_left(now) <= self.period_seconds + 1

    def may_be_late(self, now: Instant) -> bool:
        """Whether a request of a putting that was cut short may still arrive, although the fence is lifted."""
        return not self.settled and 0 <= self._seconds_late(now) < UNSETTLED_SECONDS

    def settle(self, looked: Instant) -> Fence:
        """Nothing of it was there any more at a look that began then."""
        return replace(self, settled=True) if self._seconds_late(looked) >= LATE_SECONDS else self

    def _seconds_late(self, now: Instant) -> float:
        """How long ago a putting was cut short whose request may arrive after the lift; below 0 if none was."""
        since = self.cut if self.stood else self.ended
        return -1.0 if self.phase is not FencePhase.LIFTED or since is None else since.seconds_until(now)

    # -- what happens to it -------------------------------------------------------------------------------------------

    def confirm(self, now: Instant, period_seconds: float) -> Fence | None:
        """It is to stand on; None if it is too late for that."""
        if not self.is_wanted or self.is_due(now):
            return None
        return replace(self, confirmed=now, period_seconds=period_seconds)

    def begin_putting(self, now: Instant) -> Fence:
        """A putting begins; one that began before it, and was cut short, may have left a request on its way."""
        if self.stood or not self.is_wanted:
            return self
        return replace(self, tries=self.tries + 1, cut=now if self.tries else None)

    def found_standing(self, now: Instant) -> Fence | None:
        """All brokers show it; None if it is to be lifted, or is due."""
        if not self.is_wanted or self.is_due(now):
            return None
        if self.phase is FencePhase.STANDING:
            return self
        return replace(self, phase=FencePhase.STANDING, stood=True)._told(now, "stands: every broker shows it")

    def lift(self, now: Instant, why: str) -> Fence:
        """It is to be taken away."""
        return replace(self, phase=FencePhase.LIFTING)._told(now, f"is to be lifted: {why}") if self.is_wanted else self

    def found_lifted(self, now: Instant, left: Sequence[str]) -> Fence:
        """Nothing of it is left, but for what somebody changed."""
        if self.phase is FencePhase.LIFTED:
            return self
        story = "lifted" + "".join(f"; left: {each}" for each in left)
        return replace(self, phase=FencePhase.LIFTED, ended=now, left=tuple(left))._told(now, story)

    def _told(self, now: Instant, what: str) -> Fence:
        return replace(self, events=(*self.events, Event(now.wall_ms, what))[-MOST_EVENTS:])

    # -- as JSON ------------------------------------------------------------------------------------------------------

    def to_value(self) -> dict[str, Any]:
        """What its file holds."""
        return {
            "number": self.number,
            "side": self.side.value,
            "kind": self.kind.value,
            "topics": list(self.topics),
            "principals": list(self.principals),
            "acls": [
                {
                    "resourceType": each.resource_type.name,
                    "name": each.name,
                    "patternType": each.pattern_type.name,
                    "principal": each.principal,
                    "host": each.host,
                    "operation": each.operation.name,
                    "permission": each.permission.name,
                    "wasThere": was_there,
                }
                for each, was_there in self.acls
            ],
            "settings": [list(each) for each in self.settings],
            "clusterId": self.cluster_id,
            "bootstrap": self.bootstrap,
            "isSecured": self.is_secured,
            "periodSeconds": self.period_seconds,
            "phase": self.phase.value,
            "begun": list(self.begun),
            "confirmed": list(self.confirmed),
            "stood": self.stood,
            "tries": self.tries,
            "cut": None if self.cut is None else list(self.cut),
            "ended": None if self.ended is None else list(self.ended),
            "settled": self.settled,
            "left": list(self.left),
            "events": [list(each) for each in self.events],
        }

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Fence:
        """What `to_value` made; raises KeyError, TypeError or ValueError if it did not."""
        return cls(
            number=int(value["number"]),
            side=Side(value["side"]),
            kind=FenceKind(value["kind"]),
            topics=tuple(map(TopicName, value["topics"])),
            principals=tuple(value["principals"]),
            acls=tuple(AclPiece(_acl(each), bool(each["wasThere"])) for each in value["acls"]),
            settings=tuple(SettingPiece(*each) for each in value["settings"]),
            cluster_id=value["clusterId"],
            bootstrap=value["bootstrap"],
            is_secured=value["isSecured"],
            period_seconds=float(value["periodSeconds"]),
            phase=FencePhase(value["phase"]),
            begun=Instant(*value["begun"]),
            confirmed=Instant(*value["confirmed"]),
            stood=bool(value["stood"]),
            tries=int(value.get("tries", 0)),
            cut=None if value.get("cut") is None else Instant(*value["cut"]),
            ended=None if value["ended"] is None else Instant(*value["ended"]),
            settled=bool(value.get("settled", False)),
            left=tuple(value["left"]),
            events=tuple(Event(*each) for each in value["events"]),
        )


def _acl(value: Mapping[str, Any]) -> Acl:
    return Acl(
        ResourceType[value["resourceType"]],
        value["name"],
        PatternType[value["patternType"]],
        value["principal"],
        value["host"],
        AclOperation[value["operation"]],
        Permission[value["permission"]],
    )
