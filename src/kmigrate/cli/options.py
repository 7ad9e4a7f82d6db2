"""Options that several commands share, and the migration they name.

Rule: a command that only talks to the owner needs the manifest's name and limit, not its secrets.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import click

from kmigrate.api.client import Client
from kmigrate.manifest import ManifestDocument, load_manifest
from kmigrate.manifest.files import read_limited
from kmigrate.manifest.shape import check_shape
from kmigrate.manifest.yaml_tree import parse_tree
from kmigrate.runner.folder import MigrationFolder

F = TypeVar("F", bound=Callable[..., Any])


def default_state_root() -> Path:
    """`$XDG_STATE_HOME/kmigrate`, by default `~/.local/state/kmigrate`."""
    root = os.environ.get("XDG_STATE_HOME", "")
    return (Path(root) if root else Path.home() / ".local" / "state") / "kmigrate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The migration that a command line names."""

    file: Path
    state: Path | None

    @classmethod
    def by(cls, ctx: click.Context, file: Path, state: Path | None) -> Self:
        """The migration of this command line; hints of errors are spelled with it from now on."""
        named = cls(file=file, state=state)
        ctx.ensure_object(dict)["spell"] = named.spell
        return named

    def folder(self, name: str) -> MigrationFolder:
        """The folder of the migration of this name."""
        return MigrationFolder(self.state or default_state_root(), name)

    def client(self) -> Client:
        """A client for the migration; raises ManifestError if the file does not name one."""
        name, limit = _name_and_limit(self.file)
        return Client(self.folder(name), manifest_limit=limit)

    def spell(self, text: str) -> str:
        """A command line or hint with this migration's file, and its state folder if it is not the usual one."""
        place = f"-f {shlex.quote(str(self.file))}"
        if self.state is not None:
            place += f" --state {shlex.quote(str(self.state))}"
        return text.replace("-f FILE", place)


def migration_options(command: F) -> F:
    """-f and --state."""
    command = click.option(
        "--state",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where migrations keep their folders.  [default: $XDG_STATE_HOME/kmigrate, or ~/.local/state/kmigrate]",
    )(command)
    return click.option(
        "-f",
        "--file",
        metavar="FILE",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="The migration's manifest.",
    )(command)


def message_options(command: F) -> F:
    """--no-color and --debug."""

    def set_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
        ctx.ensure_object(dict)["debug"] = value
        return value

    command = click.option(
        "--debug", is_flag=True, expose_value=False, callback=set_debug, help="Show tracebacks, log more."
    )(command)
    return click.option("--no-color", is_flag=True, help="No colors; $NO_COLOR does the same.")(command)


def _name_and_limit(file: Path) -> tuple[str, int | None]:
    try:
        document = check_shape(parse_tree(read_limited(file).decode("utf-8-sig"), file=str(file)))
    except (OSError, UnicodeDecodeError):
        document = ()
    if isinstance(document, ManifestDocument):
        return document.metadata.name, document.spec.limits.bytes_per_second
    manifest = load_manifest(file)
    return manifest.name, manifest.limits.bytes_per_second
