"""Where a running owner takes what `apply` wants: it looks, shows its plan, and carries it out when it is told to.

Rule: one is carried out at a time, and a plan that was made before the last one began is not carried out any more.
Both steps take their time: each has a thread of its own, and is asked how it goes. Many threads may use the desk.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Protocol

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic.alias_generators import to_camel

from kmigrate.errors import KmigrateError, Refused, UsageError
from kmigrate.kafka_types import Side
from kmigrate.manifest import Manifest, Offsets, ReplicationFactor, Selection, UserSection
from kmigrate.plan.actions import Kind, PlannedAction
from kmigrate.runner.applying import Applied
from kmigrate.runner.errand import Errand

log = logging.getLogger(__name__)
_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)

PLANS = 8
"""Plans that are kept; the oldest gives way."""
ROWS_A_PAGE = 500
STOP_SECONDS = 6.0
"""How long the end of an owner waits for a request that is under way."""
AGAIN = "run `kmigrate apply -f FILE` again: it does what is missing"


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyWish:
    """What `apply` goes by in its manifest, which may be a newer one than the owner's, and the clusters it means."""

    cluster_ids: Mapping[Side, str]
    topics: Selection
    groups: Selection
    offsets: Offsets
    replication_factor: ReplicationFactor
    principals: Mapping[str, str]
    users: Mapping[str, UserSection]

    @classmethod
    def of(cls, manifest: Manifest, cluster_ids: Mapping[Side, str]) -> ApplyWish:
        """The wish of this manifest."""
        return cls(
            cluster_ids=cluster_ids,
            topics=manifest.topics,
            groups=manifest.groups,
            offsets=manifest.offsets,
            replication_factor=manifest.replication_factor,
            principals=manifest.principals,
            users=manifest.users,
        )

    def put_into(self, manifest: Manifest) -> Manifest:
        """The owner's manifest, which says how clusters are reached, with what is wanted here."""
        return replace(
            manifest,
            topics=self.topics,
            groups=self.groups,
            offsets=self.offsets,
            replication_factor=self.replication_factor,
            principals=self.principals,
            users=self.users,
        )

    def to_json(self) -> str:
        return _WISH.dump_json(self, by_alias=True).decode()

    @classmethod
    def from_json(cls, text: str) -> ApplyWish:
        """Raises ValueError for a text that is none."""
        return _WISH.validate_json(text)


_WISH: TypeAdapter[ApplyWish] = TypeAdapter(ApplyWish)


class ApplyStage(enum.Enum):
    """How far one `apply` is."""

    LOOKING = "looking"
    PLANNED = "planned"
    APPLYING = "applying"
    DONE = "done"


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedRow:
    """What became of one thing; see Applied."""

    kind: Kind
    name: str
    what: str
    trouble: str
    passing: bool

    @classmethod
    def of(cls, applied: Applied) -> AppliedRow:
        return cls(**applied._asdict())

    @property
    def applied(self) -> Applied:
        return Applied(self.kind, self.name, self.what, self.trouble, self.passing)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyFailure:
    """Why a step ended early, and how the command ends because of it."""

    error: str
    hint: str
    exit_code: int


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyStatus:
    """How one `apply` goes; `rows` are what was done from the asked one on, a page of them."""

    number: int
    stage: ApplyStage
    rows: tuple[AppliedRow, ...] = ()
    failure: ApplyFailure | None = None


class Seen(Protocol):
    """What was looked at, and what follows."""

    @property
    def actions(self) -> Sequence[PlannedAction]: ...


class Live(Protocol):
    """A running owner, as far as `apply` needs it."""

    def look(self, wish: ApplyWish) -> Seen:
        """Looks at both clusters, and writes nothing."""
        ...

    def carry_out(
        self, wish: ApplyWish, seen: Any, kinds: Collection[Kind], passwords: Mapping[str, str], ended: threading.Event
    ) -> Iterator[Applied]:
        """Does it under the owner's lease; begins nothing more once `ended` is set."""
        ...


class _Job:
    """One `apply`, from its first look to its end."""

    def __init__(self, number: int, wish: ApplyWish) -> None:
        self.number = number
        self.wish = wish
        self.stage = ApplyStage.LOOKING
        self.seen: Seen | None = None
        self.rows: list[AppliedRow] = []
        self.failure: ApplyFailure | None = None
        self.ended = threading.Event()


class ApplyDesk:
    """The applies of one running owner."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._numbers = count(1)
        self._jobs: dict[int, _Job] = {}
        self._under_way: tuple[_Job, Errand[None]] | None = None

    def attach(self, live: Live | None) -> None:
        """From now on there is an owner, or none any more: what is under way ends, with what was sent."""
        with self._lock:
            self._live, under_way = live, self._under_way
            for job in self._jobs.values():
                job.ended.set()
        if under_way is not None and not under_way[1].wait(STOP_SECONDS):
            log.warning("an apply did not end within %.0f s; a later one finishes it", STOP_SECONDS)

    def plan(self, wish: ApplyWish) -> ApplyStatus:
        """Begins to look; returns the number to ask by."""
        with self._lock:
            live = self._owned()
            job = _Job(next(self._numbers), wish)
            self._jobs[job.number] = job
            while len(self._jobs) > PLANS:
                del self._jobs[min(number for number in self._jobs if not self._is_under_way(self._jobs[number]))]
        Errand(lambda: self._look(live, job), "apply-look")
        return self.status(job.number)

    def actions(self, number: int) -> Sequence[PlannedAction]:
        """What is planned, and of everything else why not; once it was looked."""
        seen = self._job(number).seen
        return () if seen is None else seen.actions

    def begin(self, number: int, kinds: Collection[Kind], passwords: Mapping[str, str]) -> ApplyStatus:
        """Begins to carry a plan out; raises Refused if another one came first."""
        with self._lock:
            live = self._owned()
            if self._under_way is not None and self._is_under_way(self._under_way[0]):
                raise Refused("another `kmigrate apply` of this migration is under way", hint=f"once it ended, {AGAIN}")
            job = self._job(number)
            if job.stage is not ApplyStage.PLANNED or job.seen is None:
                raise UsageError(f"plan {number} is {job.stage.value}: it cannot be carried out", hint=AGAIN)
            job.stage = ApplyStage.APPLYING
            self._jobs = {number: job}  # what others were shown is not so any more
            self._under_way = job, Errand(lambda: self._carry_out(live, job, kinds, passwords), "apply")
        return self.status(number)

    def status(self, number: int, start: int = 0) -> ApplyStatus:
        """How it goes, with what was done from row `start` on."""
        job = self._job(number)
        stage, failure = job.stage, job.failure  # before the rows: nothing is added to them once it is done
        rows = tuple(job.rows[start : start + ROWS_A_PAGE])
        return ApplyStatus(number=number, stage=stage, rows=rows, failure=failure)

    def stop(self, number: int) -> ApplyStatus:
        """Begins nothing more of it; what was sent is finished."""
        self._job(number).ended.set()
        return self.status(number)

    # -- the steps

    def _look(self, live: Live, job: _Job) -> None:
        with _Told(job):
            job.seen = live.look(job.wish)
        job.stage = ApplyStage.DONE if job.failure else ApplyStage.PLANNED

    def _carry_out(self, live: Live, job: _Job, kinds: Collection[Kind], passwords: Mapping[str, str]) -> None:
        with _Told(job):
            for applied in live.carry_out(job.wish, job.seen, kinds, passwords, job.ended):
                job.rows.append(AppliedRow.of(applied))
        with self._lock:
            self._jobs = {job.number: job}  # what was looked at meanwhile, neither
            job.stage = ApplyStage.DONE

    def _job(self, number: int) -> _Job:
        job = self._jobs.get(number)
        if job is None:
            raise Refused("what was shown is out of date: another `kmigrate apply` came in between", hint=AGAIN)
        return job

    def _owned(self) -> Live:
        if self._live is None:
            raise Refused("no owner runs that could do it, or it is starting", hint="try again in a moment")
        return self._live

    @staticmethod
    def _is_under_way(job: _Job) -> bool:
        return job.stage is ApplyStage.APPLYING


class _Told:
    """Keeps what a step of a job raises, for who asks; a context manager."""

    def __init__(self, job: _Job) -> None:
        self._job = job

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, KmigrateError):
            log.warning("apply: %s", error)
            self._job.failure = ApplyFailure(error=str(error), hint=error.hint, exit_code=error.exit_code)
        elif error is not None:
            log.error("apply: a defect", exc_info=error)
            told = f"unexpected: {type(error).__name__}: {error}"
            self._job.failure = ApplyFailure(error=told, hint="this is a defect; the log says more", exit_code=1)
        return True
