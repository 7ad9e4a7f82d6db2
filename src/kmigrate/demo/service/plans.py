"""What applications there are, what one run of an application is told, and what it tells.  (pure)

Rule: plans and progress travel as JSON, so that an application is a process like any other.
"""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from kmigrate.kafka_types import Side

NUMBERS_OF_A_RUN = 10_000_000
"""Each run of a producer has numbers of its own, above those of the last: one that was killed uses none twice."""
MOST_AT_ONCE = 200
"""A consumer commits after so many records at the latest: that is what it can repeat when it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSpec:
    """An application that writes: each key always to the same of its topics, `history_records` of them at once."""

    name: str
    topics: tuple[str, ...]
    keys: int = 20
    records_per_second: int = 100
    history_records: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSpec:
    """A group of applications that read. `origins`: the topics that it is to get all of, if not those that it reads."""

    group: str
    topics: tuple[str, ...]
    origins: tuple[str, ...] = ()
    members: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.group}-{number}" for number in range(1, self.members + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySpec:
    """An application that reads one topic and writes another, in transactions; its records keep their identity."""

    name: str
    group: str
    reads: str
    writes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """All applications of a service."""

    producers: tuple[ProducerSpec, ...]
    readers: tuple[ReaderSpec, ...]
    relays: tuple[RelaySpec, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that is read or written, sorted."""
        written = {topic for each in self.producers for topic in each.topics} | {each.writes for each in self.relays}
        read = {topic for each in self.readers for topic in each.topics} | {each.reads for each in self.relays}
        return tuple(sorted(written | read))

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(sorted({each.group for each in self.readers} | {each.group for each in self.relays}))

    @property
    def expected(self) -> dict[str, frozenset[str]]:
        """Which topics' records each group is to get. Of a relay's group those who read what it writes tell all."""
        return {each.group: frozenset(each.origins or each.topics) for each in self.readers}


class Work(enum.StrEnum):
    """What an application does."""

    WRITE = "write"
    READ = "read"
    RELAY = "relay"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """One run of one application: from its start on one side to its end."""

    work: Work
    name: str
    side: Side
    bootstrap: str
    notes: str
    reads: tuple[str, ...] = ()
    group: str = ""
    writes: tuple[str, ...] = ()
    keys: int = 0
    records_per_second: int = 0
    history_records: int = 0
    first_number: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"side": self.side.value})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values |= {"work": Work(values["work"]), "side": Side(values["side"])}
        return cls(**values | {name: tuple(values[name]) for name in ("reads", "writes")})


class RunPhase(enum.StrEnum):
    """How far a run is; in this order."""

    STARTING = "starting"
    RUNNING = "running"
    """A producer was acknowledged a record, a consumer has been assigned its partitions."""
    ENDED = "ended"
    """Everything is flushed, committed and closed; the process is about to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """What a run tells. `done`: records acknowledged or processed; `failed`: without an answer, or transactions."""

    phase: RunPhase = RunPhase.STARTING
    done: int = 0
    failed: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The progress that `to_json` wrote."""
        values = json.loads(text)
        return cls(**values | {"phase": RunPhase(values["phase"])})


class Condition(enum.StrEnum):
    """How an application is on one side."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DEAD = "dead"
    """It was not asked to end, or did not end in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationState:
    """How an application is, on both sides; a side where it never ran is left out."""

    conditions: dict[Side, Condition] = field(default_factory=dict)
    progress: dict[Side, RunProgress] = field(default_factory=dict)

    @property
    def sides(self) -> frozenset[Side]:
        """Where it is starting or running."""
        alive = (Condition.STARTING, Condition.RUNNING)
        return frozenset(side for side, condition in self.conditions.items() if condition in alive)
