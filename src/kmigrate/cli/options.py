"""Options that several commands share, and the migration they name.

Rule: a command that only talks to the owner needs the manifest's name and limit, not its secrets. What the owner's
client needs is imported only where it is asked for: not every command talks to one.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from kmigrate.errors import UsageError

if TYPE_CHECKING:
    from kmigrate.api.client import Client
    from kmigrate.manifest.model import Limits
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
        from kmigrate.runner.folder import MigrationFolder

        return MigrationFolder(self.state or default_state_root(), name)

    def has_folder(self, name: str) -> bool:
        """Whether the migration of this name ever left anything here."""
        return ((self.state or default_state_root()) / name).is_dir()

    def has_state(self, name: str) -> bool:
        """Whether the migration of this name has anything recorded here."""
        from kmigrate.state.store import Store

        return Store.exists((self.state or default_state_root()) / name)

    def client(self) -> Client:
        """A client for the migration; raises ManifestError if the file does not name one."""
        from kmigrate.api.client import Client
        from kmigrate.copy.rates import rate_limits

        name, limits = _name_and_limits(self.file)
        return Client(self.folder(name), manifest_limits=rate_limits(limits))

    def spell(self, text: str) -> str:
        """A command line or hint with this migration's file, and its state folder if it is not the usual one."""
        place = f"-f {shlex.quote(str(self.file))}"
        if self.state is not None:
            place += f" --state {shlex.quote(str(self.state))}"
        return text.replace("-f FILE", place)


def migration_options(command: F) -> F:
    """-f and --state."""
    return _migration_options(command, required=True)


def optional_migration_options(command: F) -> F:
    """The same for a command that can do without a migration."""
    return _migration_options(command, required=False)


def _migration_options(command: F, *, required: bool) -> F:
    command = state_option(command)
    return click.option(
        "-f",
        "--file",
        metavar="FILE",
        required=required,
        type=click.Path(dir_okay=False, path_type=Path),
        help="The migration's manifest.",
    )(command)


def state_option(command: F) -> F:
    """--state alone, for what is about all migrations of a folder."""
    return click.option(
        "--state",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where migrations keep their folders.  [default: $XDG_STATE_HOME/kmigrate, or ~/.local/state/kmigrate]",
    )(command)


def state_root(state: Path | None) -> Path:
    """The folder that --state names, or the usual one, as an absolute path."""
    return (state or default_state_root()).absolute()


def message_options(command: F) -> F:
    """--no-color and --debug."""

    def set_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
        ctx.ensure_object(dict)["debug"] = value
        return value

    command = click.option(
        "--debug", is_flag=True, expose_value=False, callback=set_debug, help="Show tracebacks, log more."
    )(command)
    return click.option("--no-color", is_flag=True, help="No colors; $NO_COLOR does the same.")(command)


def confirm_topic(topic: str, warning: str) -> None:
    """Asks for the topic's name after a warning; raises UsageError if it is not typed."""
    _confirm("topic", topic, warning)


def confirm_migration(name: str, warning: str, *, without: str = "--yes") -> None:
    """Asks for the migration's name after a warning; raises UsageError if it is not typed.

    `without` is the option that does without the question.
    """
    _confirm("migration", name, warning, without=without)


def _confirm(what: str, name: str, warning: str, *, without: str = "--yes") -> None:
    click.echo(warning, err=True)
    try:
        typed = click.prompt(f"Type the {what}'s name to go on", err=True)
    except click.Abort as abort:
        if sys.stdin.isatty():
            raise
        raise UsageError("nobody confirmed it: nothing was changed", hint=f"{without} does without") from abort
    if typed != name:
        raise UsageError(f"{typed!r} is not {name!r}: nothing was changed")


def migration_name(file: Path) -> str:
    """The name in a manifest, whose secrets are not needed for that; raises ManifestError if there is none."""
    return _name_and_limits(file)[0]


def _name_and_limits(file: Path) -> tuple[str, Limits]:
    from kmigrate.manifest import ManifestDocument, load_manifest
    from kmigrate.manifest.files import read_limited
    from kmigrate.manifest.shape import check_shape
    from kmigrate.manifest.yaml_tree import parse_tree

    try:
        document = check_shape(parse_tree(read_limited(file).decode("utf-8-sig"), file=str(file)))
    except (OSError, UnicodeDecodeError):
        document = ()
    if isinstance(document, ManifestDocument):
        return document.metadata.name, document.spec.limits
    manifest = load_manifest(file)
    return manifest.name, manifest.limits
