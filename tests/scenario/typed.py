"""Commands as an operator types them, what they print, and how a page shows both.

What differs from machine to machine is renamed: the folder of state, and whatever else its terminal is told.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import kmigrate

PROMPT = "$ "
USUAL_STATE = "~/.local/state"
COLUMNS = 110
MOST_SECONDS = 300.0
"""How long a command may take; a generous limit, not a promise."""


class Step(NamedTuple):
    """A command, what it printed on both streams, and its exit code."""

    command: str
    output: str
    code: int


class Terminal:
    """A terminal in a folder. `renames`: what stands there in the page, in place of what is printed."""

    def __init__(self, folder: Path, renames: Mapping[str, str], environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.state_home = folder / "state"
        self._renames = {str(self.state_home): USUAL_STATE, **renames}
        self._environment = {
            **os.environ,
            "XDG_STATE_HOME": str(self.state_home),
            "PYTHONPATH": str(Path(kmigrate.__file__).parents[1]),
            "COLUMNS": str(COLUMNS),
            **(environment or {}),
        }

    def type(self, command: str) -> Step:
        """Types a command, and waits for its end."""
        done = subprocess.run(
            _arguments(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self._environment,
            timeout=MOST_SECONDS,
            check=False,
        )
        return Step(command, self.rename(done.stdout), done.returncode)

    def leave_running(self, command: str) -> Running:
        """Types a command that goes on, in a terminal of its own."""
        return Running(command, self, self._environment)

    def rename(self, text: str) -> str:
        """What is printed, as the page shows it."""
        return renamed(text, self._renames)


class Running:
    """A command that goes on until Ctrl-C."""

    def __init__(self, command: str, terminal: Terminal, environment: Mapping[str, str]) -> None:
        self.command = command
        self._terminal = terminal
        self._printed = terminal.folder / "second-terminal"
        with self._printed.open("wb") as printed:
            self._process = subprocess.Popen(
                _arguments(command),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=terminal.folder,
                env=environment,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def printed(self) -> str:
        """What it printed so far."""
        return self._terminal.rename(self._printed.read_text(encoding="utf-8"))

    def interrupt(self) -> Step:
        """Ctrl-C, and what it printed until its end."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(MOST_SECONDS)
        return Step(self.command, self.printed(), code)

    def close(self) -> None:
        """Kills it, if it still runs; its workers notice."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def renamed(text: str, renames: Mapping[str, str]) -> str:
    """A text with other names, and without blanks at the ends of lines."""
    for ours, shown in renames.items():
        text = text.replace(ours, shown)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def show(step: Step) -> str:
    """A command and what it printed, in Markdown."""
    return fenced(f"{PROMPT}{step.command}\n{step.output}".rstrip("\n"))


def fenced(text: str) -> str:
    """What was printed, in Markdown."""
    return f"```\n{text}\n```\n"


def commands_in(page: str) -> list[str]:
    """The commands that a page shows."""
    return [line.removeprefix(PROMPT) for line in page.splitlines() if line.startswith(PROMPT)]


def _arguments(command: str) -> list[str]:
    _kmigrate, *arguments = shlex.split(command)
    return [sys.executable, "-P", "-c", "from kmigrate.cli import main; main()", *arguments]
