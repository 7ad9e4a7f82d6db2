"""Several processes beside each other, each a pytest of its own over the same cells; what one has claimed is its own.

Each has clusters, folders and ports of its own. They end with whoever started them.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tests.long.results import FILE, ROOT, latest, load_results

FOLDER = FILE.parent
_POLL_SECONDS = 1.0
_END_SECONDS = 90.0
"""What a job may take to end its cell's migrations and clusters."""


def run_side_by_side(arguments: Sequence[str], *, jobs: int, left: Sequence[str], code: str) -> None:
    """Runs these cells, and says what became of each; returns when every job has ended.

    An interrupt, or an error here, ends them in order.
    """
    claims = FOLDER / "claims"
    shutil.rmtree(claims, ignore_errors=True)
    command = [sys.executable, "-m", "tests.long", *arguments, "--claims", str(claims)]
    running = [_start(command, FOLDER / f"job-{number}.log") for number in range(1, jobs + 1)]
    told: set[str] = set()
    heed_interrupts()
    try:
        while True:
            ended = all(job.poll() is not None for job in running)
            _tell(left, told, code)
            if ended:
                return
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        print("ending", flush=True)
    finally:
        _end(running)


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    FOLDER.mkdir(exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


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


def heed_interrupts() -> None:
    """From now on both signals end this process in order; one in the background is started deaf to the first."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
