"""Several processes beside each other, each a pytest of its own over the same cells; what one has claimed is its own.

Each has clusters, folders and ports of its own, for the cells of one file: brokers that nobody needs any more cost
the others time. Cells that must run alone come last, one at a time. A job ends with whoever started it, however that
ends: it holds the other end of a pipe. One folder of results has one run at a time; the lock is the kernel's, and jobs
inherit it, so that none of a dead run is still at work when the next one begins.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pytest

from tests.long.results import FILE, ROOT, latest, load_results

FOLDER = FILE.parent
_POLL_SECONDS = 1.0
_END_SECONDS = 90.0
"""What a job may take to end its cell's migrations and clusters."""
_USUAL = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


class AnotherRun(Exception):
    """A run, or what is left of one, is at work on the same results."""


def run_side_by_side(
    arguments: Sequence[str], *, jobs: int, left: Sequence[str], alone: Collection[str], minutes: float, code: str
) -> None:
    """Runs the cells that are left, and says what became of each; returns when every job has ended.

    An interrupt, or an error here, ends them in order; further interrupts do not disturb that.
    """
    deadline = time.monotonic() + minutes * 60
    told: set[str] = set()
    with only_run(FOLDER) as lock:
        claims = FOLDER / "claims"
        shutil.rmtree(claims, ignore_errors=True)
        command = [sys.executable, "-m", "tests.long", *arguments, "--claims", str(claims)]
        running: list[subprocess.Popen[bytes]] = []
        heed_interrupts()
        try:
            for part in _parts(left, alone):
                minutes_left = max(0.0, deadline - time.monotonic()) / 60
                if minutes_left == 0:
                    break
                running = []
                for each in range(1, min(1 if part.is_alone else jobs, part.cells) + 1):
                    log = FOLDER / f"job-{'alone' if part.is_alone else each}.log"
                    options = [*(["--alone"] if part.is_alone else []), "--only", part.file]
                    running.append(_start([*command, *options, "--minutes", str(minutes_left)], log, lock))
                _wait(running, lambda: _tell(left, told, code))
        except KeyboardInterrupt:
            print("ending", flush=True)
        finally:
            _end(running)


class Part(NamedTuple):
    """Cells that are run beside each other, or one at a time: how many of a file."""

    file: str
    is_alone: bool
    cells: int


def _parts(left: Sequence[str], alone: Collection[str]) -> Iterator[Part]:
    for is_alone in (False, True):
        found = Counter(cell.partition("::")[0] for cell in left if (cell in alone) is is_alone)
        yield from (Part(file, is_alone, cells) for file, cells in found.items())


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[int]:
    """Holds the folder's lock; gives its descriptor. Raises AnotherRun."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AnotherRun(f"another run is at work in {folder}, or its jobs are still ending") from None
        yield lock
    finally:
        os.close(lock)


def _start(command: Sequence[str], log: Path, lock: int) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,  # nothing is written to it: it ends with this process
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
        )


def _wait(running: Sequence[subprocess.Popen[bytes]], tell: Callable[[], None]) -> None:
    """Until all have ended; one that broke is named, since its cells count as not run."""
    working = list(enumerate(running, 1))
    while working:
        ended = [(number, job) for number, job in working if job.poll() is not None]
        working = [each for each in working if each not in ended]
        tell()
        for number, job in ended:
            if job.returncode not in _USUAL:
                print(f"job {number} of {len(running)} broke with code {job.returncode}: see {FOLDER}", flush=True)
        if working:
            time.sleep(_POLL_SECONDS)


def _tell(left: Sequence[str], told: set[str], code: str) -> None:
    for cell, result in latest(load_results(code)).items():
        if cell in told or cell not in left:
            continue
        told.add(cell)
        outcome = "passed" if result.passed else "FAILED"
        figures = dict(result.figures) or ""
        print(f"{len(told):>4}/{len(left)} {outcome} {result.seconds:>5.0f} s  {cell} {figures}", flush=True)


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupts what still runs, as Ctrl-C would, and kills what does not go."""
    deadline = time.monotonic() + _END_SECONDS
    for job in running:
        if job.poll() is None:
            job.send_signal(signal.SIGINT)
    for job in running:
        try:
            job.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            job.kill()
            job.wait()


def end_with(pipe: int, end: Callable[[], object]) -> threading.Thread:
    """Calls `end` when nobody holds the other end of the pipe any more."""

    def watch() -> None:
        while os.read(pipe, 1):
            pass
        end()

    thread = threading.Thread(target=watch, daemon=True, name="end-with")
    thread.start()
    return thread


def end_with_parent() -> None:
    """Interrupts this job when the run that started it is gone; before pytest gives stdin another meaning."""
    end_with(os.dup(0), lambda: os.kill(os.getpid(), signal.SIGINT))


def heed_interrupts() -> None:
    """From now on the first signal ends this process in order; one in the background is started deaf to SIGINT.

    SIGHUP comes when the terminal closes; who is told to ignore it (nohup) does.
    """
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is _interrupt:
            signal.signal(each, _heard)
    raise KeyboardInterrupt


def _heard(number: int, frame: FrameType | None) -> None:
    """Nothing; a handler, since processes that are started now would inherit that a signal is ignored."""
