"""Ctrl-C ends a command as interrupted, wherever it comes, and whatever a library makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Annotated

import click
import pytest
from click.testing import CliRunner
from pydantic import PlainSerializer, TypeAdapter
from pydantic_core import PydanticSerializationError

from kmigrate.cli import group
from kmigrate.cli.interrupts import INTERRUPTED, Interrupts, noted_interrupts, polite_signals


def _press(number: int) -> int:
    """Ctrl-C in the middle of a serialization: the handler runs in here."""
    os.kill(os.getpid(), signal.SIGINT)
    return sum(range(1000)) + number


UNLUCKY = TypeAdapter(Annotated[int, PlainSerializer(_press)])


@pytest.fixture(autouse=True)
def _python_handles_it() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs behind it
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_raises_at_once_until_it_is_told_to_wait() -> None:
    interrupts = Interrupts()
    with polite_signals(interrupts):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.asked
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_waits_disturbs_nothing_until_somebody_checks() -> None:
    interrupts = Interrupts()
    interrupts.waits = True
    with polite_signals(interrupts):
        interrupts.check()
        assert UNLUCKY.dump_python(1) == 499_501
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_a_library_makes_an_error_of_its_own_of_it() -> None:
    """Why it is noted at all; once this fails, less would do."""
    with noted_interrupts() as interrupts:
        with pytest.raises(PydanticSerializationError):
            UNLUCKY.dump_python(1)
        assert interrupts.asked


def test_a_command_ends_as_interrupted_whatever_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def unlucky() -> None:
        UNLUCKY.dump_json(1)

    monkeypatch.setattr(group.CommandTree, "get_command", lambda *_: unlucky)
    result = CliRunner().invoke(group.commands, ["plan"])
    assert (result.exit_code, result.stderr) == (INTERRUPTED, "interrupted\n")


def test_an_ignored_signal_stays_ignored_and_threads_set_no_handlers() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with noted_interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
    assert not interrupts.asked
    seen: list[bool] = []

    def elsewhere() -> None:
        with noted_interrupts() as interrupts:
            seen.append(interrupts.asked)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_second_signal_ends_at_once() -> None:
    script = """
        import os, signal
        from kmigrate.cli.interrupts import Interrupts, polite_signals
        interrupts = Interrupts()
        interrupts.waits = True
        with polite_signals(interrupts):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, "ended at once" in ended.stderr) == (INTERRUPTED, True)
