"""The command line of a cutover, as an operator types it: every command is a process of its own.

Rule: the exit code is the answer: 0 is done, 5 a gate is closed, 6 refused or somebody was faster. Anything else is a
failure, and nobody goes on after it.
"""

from __future__ import annotations

import enum
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from kmigrate.demo.service.situation import Situation, situations_of
from kmigrate.errors import KmigrateError

KMIGRATE = (sys.executable, "-P", "-m", "kmigrate")
_SECONDS = 120.0


class Answer(enum.Enum):
    """What became of a command."""

    DONE = 0
    CLOSED = 5
    REFUSED = 6


class CommandFailed(KmigrateError):
    """A command of the operator ended as none should."""


class Cutover(Protocol):
    """What an operator can look at and decide."""

    def status(self) -> tuple[Situation, ...]: ...
    def next(self, wave: str, *, approve: bool, attest: bool = False) -> Answer: ...
    def finish(self, wave: str) -> Answer: ...
    def abort(self, wave: str) -> Answer: ...
    def verify(self) -> None: ...
    def rollback(self, wave: str) -> Answer: ...


class CutoverCommands:
    """`kmigrate cutover …` for one migration. `name` is what approves; `show` is told every command that decides.

    `program` is how kmigrate is called, `arguments` what else names the migration, as `--state`.
    """

    def __init__(
        self,
        manifest: Path,
        name: str,
        *,
        arguments: Sequence[str] = (),
        program: Sequence[str] = KMIGRATE,
        environment: Mapping[str, str] | None = None,
        show: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._place = ("-f", str(manifest), *arguments)
        self._name = name
        self._program = tuple(program)
        self._environment = {**os.environ, **(environment or {})}
        self._show = show

    def status(self) -> tuple[Situation, ...]:
        """Where every wave stands; raises CommandFailed."""
        arguments = ("cutover", "status", *self._place, "-o", "json")
        done = self._run(arguments)
        if done.returncode != 0:
            raise self._failed(arguments, done)
        try:
            return situations_of(json.loads(done.stdout))
        except (ValueError, KeyError, TypeError) as error:
            raise CommandFailed(f"cutover status -o json is not what it should be: {error!r}") from error

    def next(self, wave: str, *, approve: bool, attest: bool = False) -> Answer:
        """Leaves the step, with the approval of what cannot be taken back or the operator's word if it is asked for."""
        more = (("--approve", self._name) if approve else ()) + (("--attest",) if attest else ())
        return self._decide("next", wave, *more)

    def finish(self, wave: str) -> Answer:
        """Ends the way back."""
        return self._decide("finish", wave, "--approve", self._name)

    def abort(self, wave: str) -> Answer:
        """Takes everything back."""
        return self._decide("abort", wave)

    def rollback(self, wave: str) -> Answer:
        """Begins the way back."""
        return self._decide("rollback", wave, "--approve", self._name)

    def verify(self) -> None:
        """Has everything compared that is copied; raises CommandFailed if it differs, or cannot be compared."""
        arguments = ("verify", *self._place, "--mode", "records")
        self._show(shlex.join(("kmigrate", *arguments)))
        done = self._run(arguments)
        if done.returncode != 0:
            raise self._failed(arguments, done)

    def _decide(self, verb: str, wave: str, *more: str) -> Answer:
        arguments = ("cutover", verb, *self._place, "--wave", wave, *more)
        self._show(shlex.join(("kmigrate", *arguments)))
        done = self._run(arguments)
        try:
            return Answer(done.returncode)
        except ValueError:
            raise self._failed(arguments, done) from None

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [*self._program, *arguments]
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=self._environment,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"{_verb(arguments)} does not end within {_SECONDS:.0f} s") from None

    def _failed(self, arguments: Sequence[str], done: subprocess.CompletedProcess[str]) -> CommandFailed:
        told = done.stderr.strip().splitlines()
        return CommandFailed(
            f"{_verb(arguments)} ended with {done.returncode}", hint=told[-1] if told else "it said nothing"
        )


def _verb(arguments: Sequence[str]) -> str:
    """The words of a command line before its options."""
    return " ".join(arguments[: arguments.index("-f")])
