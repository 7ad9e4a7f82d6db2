"""All migrations of a state folder in one document: how each stands, who owns it, and what serve does about it.

Rule: the JSON (`apiVersion: kmigrate/v1`, `kind: Migrations`) is a contract, as the status document's: keys are only
ever added, what is not known is null. Reference: docs/serve.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.alias_generators import to_camel

from kmigrate.errors import KmigrateError
from kmigrate.runner.folder import OwnerNote
from kmigrate.runner.status import Flow, MigrationState, StatusDocument
from kmigrate.serve.exits import Exit
from kmigrate.serve.machine import Phase, Wanted
from kmigrate.serve.supervisor import Holding

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerStatus:
    """The process that owns a migration; `started_at` in milliseconds since the epoch."""

    pid: int
    host: str
    started_at: int


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What serve does about a migration that it holds; `phase` is null where no serve runs.

    `last_exit` is how its last owner ended, `restarts` how often one was started again since serve runs.
    `again_in_seconds`: when one is started, where it is waited for.
    """

    file: str
    wanted: Wanted
    phase: Phase | None
    restarts: int = 0
    again_in_seconds: float | None = None
    last_exit: Exit | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationSummary:
    """How one migration stands. `state` is null where its owner does not answer; `reason` says so.

    `served` is null of a migration that serve does not hold. `stopped` counts partitions that wait for an answer.
    """

    name: str
    state: MigrationState | None
    reason: str
    next_step: str = ""
    owner: OwnerStatus | None = None
    served: Served | None = None
    source_cluster_id: str | None = None
    target_cluster_id: str | None = None
    updated_at: int | None = None
    stopped: int = 0
    target_full: bool = False
    totals: Flow = field(default_factory=Flow)

    def to_value(self) -> dict[str, Any]:
        """As what JSON and YAML are made of."""
        value: dict[str, Any] = _summary().dump_python(self, mode="json", by_alias=True)
        return value

    def to_json(self) -> str:
        """As JSON."""
        return _summary().dump_json(self, by_alias=True).decode()

    @classmethod
    def from_json(cls, text: str) -> MigrationSummary:
        """What `to_json` wrote; raises KmigrateError if it is not one."""
        try:
            return _summary().validate_json(text)
        except ValidationError as error:
            raise _other_version("summary", error) from error


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationsDocument:
    """All migrations of a state folder, by name. `served_by` is the serve that runs there; null: none."""

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Migrations"] = "Migrations"
    state_folder: str
    served_by: OwnerStatus | None = None
    troubles: tuple[str, ...] = ()
    migrations: tuple[MigrationSummary, ...] = ()

    def to_value(self) -> dict[str, Any]:
        """As what JSON and YAML are made of."""
        value: dict[str, Any] = _document().dump_python(self, mode="json", by_alias=True)
        return value

    def to_json(self, *, indent: int | None = None) -> str:
        """As JSON."""
        return _document().dump_json(self, by_alias=True, indent=indent).decode()

    @classmethod
    def from_json(cls, text: str) -> MigrationsDocument:
        """What `to_json` wrote; raises KmigrateError if it is not one."""
        try:
            return _document().validate_json(text)
        except ValidationError as error:
            raise _other_version("list of migrations", error) from error


def owner_status(note: OwnerNote | None) -> OwnerStatus | None:
    """A process by its note."""
    return None if note is None else OwnerStatus(pid=note.pid, host=note.host, started_at=note.started_at_ms)


def summarize(
    name: str, status: StatusDocument | KmigrateError, owner: OwnerNote | None, holding: Holding | None
) -> MigrationSummary:
    """What is told of one migration in the list; `status` is an error where its owner did not answer."""
    served = None if holding is None else _served(holding)
    if isinstance(status, KmigrateError):
        return MigrationSummary(
            name=name, state=None, reason=str(status), next_step=status.hint, owner=owner_status(owner), served=served
        )
    reason, next_step = status.reason, status.next_step
    if owner is None and holding is not None:
        reason, next_step = _without_owner(holding, reason, next_step)
    return MigrationSummary(
        name=name,
        state=status.state,
        reason=reason,
        next_step=next_step,
        owner=owner_status(owner),
        served=served,
        source_cluster_id=status.source_cluster_id,
        target_cluster_id=status.target_cluster_id,
        updated_at=status.updated_at,
        stopped=len(status.stopped),
        target_full=status.target_full,
        totals=status.totals,
    )


def _served(holding: Holding) -> Served:
    return Served(
        file=str(holding.kept.file),
        wanted=holding.kept.wanted,
        phase=holding.phase,
        restarts=holding.restarts,
        again_in_seconds=holding.again_in_seconds,
        last_exit=holding.last,
    )


def _without_owner(holding: Holding, reason: str, next_step: str) -> tuple[str, str]:
    """Why no owner runs although, or because, serve holds it, and what to do."""
    name, last = holding.kept.name, holding.last
    if holding.kept.wanted is not Wanted.RUNNING:
        return reason, f"kmigrate serve start {name} goes on with it"
    if holding.phase is Phase.ENDED and last is not None:
        return last.reason, f"mend that, then kmigrate serve start {name}"
    if holding.phase is None:
        return reason, "kmigrate serve goes on with it"
    if last is not None:
        return last.reason, "nothing to do; its owner is started again"
    return reason, "nothing to do; its owner starts"


def names_of(document: MigrationsDocument) -> Sequence[str]:
    """The names of all migrations in it."""
    return [each.name for each in document.migrations]


def _other_version(what: str, error: ValidationError) -> KmigrateError:
    return KmigrateError(
        f"not a {what} of kmigrate/v1: {error.errors()[0]['msg']}",
        hint="serve and command come from different versions of kmigrate: end serve and start it again",
    )


@cache
def _summary() -> TypeAdapter[MigrationSummary]:
    return TypeAdapter(MigrationSummary)


@cache
def _document() -> TypeAdapter[MigrationsDocument]:
    return TypeAdapter(MigrationsDocument)
