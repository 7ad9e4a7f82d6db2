"""The status document: how one migration stands, as values with a versioned JSON form.

Rule: the JSON (`apiVersion: kmigrate/v1`, `kind: Status`) is a contract: keys are only ever added, readers
ignore those they do not know. A number that is not known is null, never 0. Times are milliseconds since
the epoch.

`kmigrate.runner.board.StatusBoard` fills it; the table, the live view and the API read it. Reference:
docs/understanding-status.md.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.alias_generators import to_camel

from kmigrate.copy.spending import CAUSES, Cause
from kmigrate.copy.states import STOPS, Choice, PartitionState, Stop, StopKind
from kmigrate.copy.tally import LATENCY_SECONDS
from kmigrate.errors import KmigrateError
from kmigrate.offsets.classes import OffsetClass
from kmigrate.runner.cutover.place import WavePlace
from kmigrate.runner.fence_status import FenceStatus
from kmigrate.runner.groups_document import GroupsSummary

API_VERSION = "kmigrate/v1"
GOES_ON = "nothing to do; it goes on by itself"

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class MigrationState(enum.Enum):
    """What a migration as a whole is doing."""

    NOT_STARTED = "NOT_STARTED"
    RUNNING = "RUNNING"
    IN_SYNC = "IN_SYNC"
    WAITING = "WAITING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    SUPERSEDED = "SUPERSEDED"
    ENDED = "ENDED"


MIGRATION_STATES: dict[MigrationState, str] = {
    MigrationState.NOT_STARTED: "`run` has not been called for this migration, or it found a blocker",
    MigrationState.RUNNING: "records are being copied",
    MigrationState.IN_SYNC: "everything readable on the source is on the target; new records follow",
    MigrationState.WAITING: "something cannot be copied now, the rest is not behind; the reason says why",
    MigrationState.PAUSED: "an operator paused it, or the target's disks are full: nothing is written",
    MigrationState.STOPPED: "partitions stopped and wait for an operator's answer; all others are in sync",
    MigrationState.SUPERSEDED: "another owner holds the lease; this one wrote nothing since",
    MigrationState.ENDED: "no owner runs; this is how things stood when the last one ended",
}
"""State → what it means. Docs and `status` read this table."""


_HANGING_FIRST = {True: 0, None: 1, False: 2}


class EtaBasis(enum.Enum):
    """What an ETA rests on, or why there is none."""

    RATE = "at the rate of the last 30 s"
    DONE = "nothing is left"
    OUTPACED = "production outpaces the copy"
    STOPPED = "waits for an answer to its stops"
    PAUSED = "paused"
    UNKNOWN = "unknown"


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceStatus:
    """One answer that an operator can give, and the command line that gives it."""

    choice: Choice
    command: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class StopStatus:
    """Why a partition stopped, where on the source, the evidence, and what can be answered."""

    kind: StopKind
    offset: int
    evidence: str
    meaning: str
    choices: tuple[ChoiceStatus, ...]

    @classmethod
    def of(cls, stop: Stop, topic: str, partition: int) -> Self:
        """The stop of one partition, with its command lines."""
        meaning, choices = STOPS[stop.kind]
        return cls(
            kind=stop.kind,
            offset=stop.offset,
            evidence=stop.evidence,
            meaning=meaning,
            choices=tuple(ChoiceStatus(choice=choice, command=choice.command(topic, partition)) for choice in choices),
        )


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTransaction:
    """A transaction that is open on the source, and holds a partition's readable end at its first offset.

    `since` and `timeout_ms` are its coordinator's, `state` is Kafka's word for what the coordinator thinks. `hanging`:
    the coordinator is not in a transaction with this partition, so nothing will ever end this one; None is not known.
    `note` says what could not be read.
    """

    producer_id: int
    producer_epoch: int
    first_offset: int
    transactional_id: str | None = None
    since: int | None = None
    state: str | None = None
    timeout_ms: int | None = None
    hanging: bool | None = None
    note: str = ""


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedStatus:
    """A stop whose possible loss an operator accepted, and when."""

    kind: StopKind
    offset: int
    evidence: str
    at: int


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """Where one partition stands.

    `position` is how far the source is copied, `target_end` where that lies on the target, as far as it is proven; the
    `offset_class` says how they belong together. `crc_errors` counts batches that came
    damaged from the source since this owner started. `waived`: stopped, and the operator chose to leave it so.
    `held_back_records` counts the source's offsets above what can be read now, 0 if there are none; if that lasts,
    `open_transaction` is the one that holds them. `accepted` is what an operator went on with, last. `loss_seconds`:
    how long until the source deletes what is not copied yet, if it goes on like this; null if that is not in sight.
    """

    topic: str
    partition: int
    state: PartitionState
    position: int | None = None
    source_start: int | None = None
    source_end: int | None = None
    target_end: int | None = None
    offset_class: OffsetClass | None = None
    lag_records: int | None = None
    lag_seconds: float | None = None
    crc_errors: int = 0
    reason: str = ""
    stop: StopStatus | None = None
    waived: bool = False
    held_back_records: int | None = None
    open_transaction: OpenTransaction | None = None
    accepted: AcceptedStatus | None = None
    loss_seconds: float | None = None

    @property
    def name(self) -> str:
        return f"{self.topic}-{self.partition}"


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Amounts, rates and what is left, of a topic or of everything.

    Lag and `done` are those of the partitions where they are known.

    Amounts count since this owner started. `markers_written` counts offsets of gaps; `records_reencoded` and
    `records_converted` (from formats v0 and v1) are among the copied. `done` is the copied share of the source's
    offsets, 0 to 1.
    """

    records_copied: int = 0
    bytes_copied: int = 0
    markers_written: int = 0
    records_reencoded: int = 0
    records_converted: int = 0
    records_per_second: float = 0.0
    bytes_per_second: float = 0.0
    lag_records: int | None = None
    lag_seconds: float | None = None
    eta_seconds: float | None = None
    eta_basis: EtaBasis = EtaBasis.UNKNOWN
    done: float | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStatus:
    """How old batches were when the target had acknowledged them, by the newest timestamp in them.

    `counts` are the batches of each bucket: at most as old as the bound of the same place in `bounds_seconds`, and
    above the bound before; the last one holds what is older. Amounts count since this owner started.
    """

    bounds_seconds: tuple[float, ...] = LATENCY_SECONDS
    counts: tuple[int, ...] = ()
    sum_seconds: float = 0.0


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class TopicStatus:
    """One topic: its flow, and how many of its partitions are in which state.

    `foreign_writes` counts stops because somebody else wrote there, since this owner started; `loss_seconds` is the
    least of its partitions. `latency` is null before anything was told of it.
    """

    topic: str
    partitions: int
    flow: Flow
    states: dict[PartitionState, int]
    foreign_writes: int = 0
    loss_seconds: float | None = None
    latency: LatencyStatus | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker process."""

    number: int
    pid: int | None
    alive: bool


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class TimeShare:
    """What share of the pipelines' time went into one cause, 0 to 1, while something was to be copied."""

    cause: Cause
    share: float

    @property
    def words(self) -> str:
        """The cause as it is told."""
        return CAUSES[self.cause]


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A topic that does not move, and why."""

    topic: str
    reason: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class StatusDocument:
    """How a migration stands. `partitions` holds every partition, in the order of topic and number.

    `held` names the target topics that are under hold: those that do not have their intended settings yet. Limits are
    those in force; null: none. `target_full`: nothing is written, because the target's disks are full. `groups` counts
    consumer groups by their outcome; null before they were looked at. `time_shares` says where the pipelines' time went
    in the last 10 s, the largest share first; empty where nothing was to be copied.
    `throttled_seconds` is how long limits and quotas held pipelines up since this owner started, all of them together.
    `fences` are those that are not lifted, as the migration's folder has them when the status is asked for; `waves` is
    where the waves of a cutover are then.
    """

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Status"] = "Status"
    name: str
    state: MigrationState
    reason: str = ""
    next_step: str = ""
    started_at: int | None = None
    updated_at: int | None = None
    source_cluster_id: str | None = None
    target_cluster_id: str | None = None
    term: int | None = None
    lease_seconds_left: float | None = None
    workers: tuple[WorkerStatus, ...] = ()
    throttle_bytes_per_second: int | None = None
    broker_bytes_per_second: int | None = None
    topic_bytes_per_second: Mapping[str, int] = field(default_factory=dict)
    produce_latency_ms: int | None = None
    notices: tuple[str, ...] = ()
    state_lost: str | None = None
    totals: Flow = Flow()
    throttled_seconds: dict[Cause, float] = field(default_factory=dict)
    topics: tuple[TopicStatus, ...] = ()
    partitions: tuple[PartitionStatus, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    held: tuple[str, ...] = ()
    target_full: bool = False
    groups: GroupsSummary | None = None
    time_shares: tuple[TimeShare, ...] = ()
    fences: tuple[FenceStatus, ...] = ()
    waves: tuple[WavePlace, ...] = ()

    def to_value(self) -> dict[str, Any]:
        """The document as what JSON and YAML are made of."""
        value: dict[str, Any] = _adapter().dump_python(self, mode="json", by_alias=True)
        return value

    def to_json(self, *, indent: int | None = None) -> str:
        """The document as JSON."""
        return _adapter().dump_json(self, by_alias=True, indent=indent).decode()

    @classmethod
    def from_json(cls, text: str) -> StatusDocument:
        """The document that `to_json` wrote; raises KmigrateError if it is not one."""
        try:
            return _adapter().validate_json(text)
        except ValidationError as error:
            raise KmigrateError(
                f"not a status document of {API_VERSION}: {error.errors()[0]['msg']}",
                hint="owner and command come from different versions of kmigrate",
            ) from error

    @property
    def stopped(self) -> tuple[PartitionStatus, ...]:
        """The partitions that wait for an answer; waived ones do not."""
        return tuple(each for each in self.partitions if each.stop is not None and not each.waived)

    @property
    def is_handed_over(self) -> bool:
        """Whether the copy of every topic has ended, as it was handed over."""
        return bool(self.topics) and all({*each.states} == {PartitionState.HANDED_OVER} for each in self.topics)

    @property
    def waived(self) -> tuple[PartitionStatus, ...]:
        """The partitions that the operator left stopped."""
        return tuple(each for each in self.partitions if each.waived)

    @property
    def accepted(self) -> tuple[tuple[PartitionStatus, AcceptedStatus], ...]:
        """The partitions that went on with what may have been lost."""
        return tuple((each, each.accepted) for each in self.partitions if each.accepted is not None)

    @property
    def brief(self) -> StatusDocument:
        """The same without what goes on by itself: of the partitions only the stopped ones, no topics."""
        stopped = tuple(each for each in self.partitions if each.stop is not None)
        return replace(self, topics=(), partitions=stopped, left_out=(), held=())

    @property
    def losing(self) -> tuple[TopicStatus, ...]:
        """The topics of which the source will delete what is not copied yet, if it goes on like this; soonest first."""
        losing = [(each.loss_seconds, each) for each in self.topics if each.loss_seconds is not None]
        return tuple(each for _, each in sorted(losing, key=lambda pair: pair[0]))

    @property
    def held_back(self) -> tuple[tuple[PartitionStatus, OpenTransaction], ...]:
        """The partitions that an open transaction holds back: first those that nothing will end, then the most held."""
        held = [(each, each.open_transaction) for each in self.partitions if each.open_transaction is not None]
        held.sort(key=lambda pair: (_HANGING_FIRST[pair[1].hanging], -(pair[0].held_back_records or 0)))
        return tuple(held)


def left_by_owner(document: StatusDocument, *, is_finished: bool = False) -> StatusDocument:
    """How things stand without an owner: as the last one left them; `is_finished` as in `ended`."""
    if document.state in (MigrationState.ENDED, MigrationState.NOT_STARTED, MigrationState.SUPERSEDED):
        return document
    reason = f"the last owner ended without a word, in state {document.state.value}"
    return ended(document, reason, is_finished=is_finished)


NOTHING_LEFT = "nothing is left to do; kmigrate report -f FILE accounts for what was done"
"""What comes next when every wave of the cutover has finished."""


def ended(document: StatusDocument, reason: str, *, is_finished: bool = False) -> StatusDocument:
    """How things stand when an owner has ended. One that never saw a topic has not started the migration.

    `is_finished`: every wave of the cutover has; it counts only where every topic was handed over.
    """
    never_began = not document.topics
    goes_on = "kmigrate run -f FILE " + ("starts it" if never_began else "goes on where it ended")
    return replace(
        document,
        state=MigrationState.NOT_STARTED if never_began else MigrationState.ENDED,
        reason=reason,
        next_step=NOTHING_LEFT if is_finished and document.is_handed_over else goes_on,
        lease_seconds_left=None,
        workers=(),
        target_full=False,
        time_shares=(),
    )


def before_first_look(document: StatusDocument) -> StatusDocument:
    """How things stand while an owner starts: as the last one left them."""
    return replace(
        document,
        state=MigrationState.WAITING,
        reason="the owner is starting; the numbers are those of the last one",
        next_step="",
        lease_seconds_left=None,
        workers=(),
    )


@cache
def _adapter() -> TypeAdapter[StatusDocument]:
    return TypeAdapter(StatusDocument)
