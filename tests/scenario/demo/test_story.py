"""The demo, small, as a process of its own: it proves its migration, and leaves nothing behind however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.demo.kafka_jars import HOME_VARIABLE, kafka_home

pytestmark = pytest.mark.broker

PROGRAM = """
import sys
from kmigrate.demo.story import Scale, run_demo
scale = Scale(history_records=6_000, records_per_second=300, most_records=60_000, copied_bytes_per_second=1_000_000)
sys.exit(run_demo(color=False, scale=scale))
"""
TOLD_SECONDS = 120.0
GONE_SECONDS = 20.0
NOTHING_WRONG = re.compile(r"^\s*all\s+53\s+([\d,]+)\s+[\d.,]+ MB\s+([\d,]+)\s+([\d,]+)\s+0\s+0\s+0\s*$", re.MULTILINE)


class Demo:
    """The running demo: what it said so far, and every process that it ever had below it."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "TMPDIR": str(folder), HOME_VARIABLE: str(kafka_home())}
        environment.pop("XDG_RUNTIME_DIR", None)
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            process_group=0,
        )
        self.said = ""
        self.family: set[tuple[int, str]] = set()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def wait_until_it_says(self, words: str) -> None:
        deadline = time.monotonic() + TOLD_SECONDS
        while words not in self.said:
            self.note_family()
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def wait(self) -> int:
        deadline = time.monotonic() + TOLD_SECONDS
        while self.process.poll() is None:
            self.note_family()
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
        return self.process.returncode

    def note_family(self) -> None:
        """Adds the processes below the demo, each with its start time, so that a pid used again is no relative."""
        parents = {pid: parent for pid, parent, _ in _processes()}
        for pid, _, started in _processes():
            ancestor: int | None = pid
            while ancestor is not None and ancestor != self.process.pid:
                ancestor = parents.get(ancestor)
            if ancestor is not None:
                self.family.add((pid, started))

    def assert_nothing_is_left(self, *, processes: int) -> None:
        assert len(self.family) >= processes, "the test did not see the demo's processes"
        deadline = time.monotonic() + GONE_SECONDS
        while left := self.family & {(pid, started) for pid, _, started in _processes()}:
            assert time.monotonic() < deadline, f"{left} are left"
            time.sleep(0.05)
        assert list(self.folder.iterdir()) == []

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line


def _processes() -> Iterator[tuple[int, int, str]]:
    """The pid, parent and start time of every process that has not ended."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    yield int(entry.name), int(fields[1]), fields[19]


@pytest.fixture
def demo() -> Iterator[Demo]:
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:  # a short path, as the path of a socket must be
        running = Demo(Path(folder))
        yield running
        running.close()


def test_a_whole_migration_is_proven(demo: Demo) -> None:
    exit_code = demo.wait()
    assert demo.process.stdout is not None
    table = demo.process.stdout.read()
    assert exit_code == 0, demo.said + table
    total = NOTHING_WRONG.search(table)
    assert total is not None, table
    records, source_end, target_end = (int(text.replace(",", "")) for text in total.groups())
    assert records == source_end == target_end
    assert records > 6_000, "the producer went on while the copier ran"
    assert "was killed with SIGKILL" in demo.said
    assert "0 differences, 0 duplicates, 0 lost" in demo.said
    demo.assert_nothing_is_left(processes=6)  # two brokers, a producer, an owner, its worker, …


@pytest.mark.parametrize(
    ("words", "processes"),
    [
        ("Two Kafka clusters start", 0),
        ("A producer (librdkafka) writes", 3),
        ("The copy begins", 3),
        ("The same command resumes", 4),
        ("An independent client reads", 4),
    ],
)
def test_an_interrupt_ends_everything(demo: Demo, words: str, processes: int) -> None:
    demo.wait_until_it_says(words)
    time.sleep(0.3)  # somewhere in that chapter
    demo.note_family()
    demo.process.send_signal(signal.SIGINT)
    demo.process.send_signal(signal.SIGINT)
    assert demo.wait() == 130, demo.said
    assert "interrupted" in demo.said
    demo.assert_nothing_is_left(processes=processes)


def test_processes_end_with_a_demo_that_was_killed(demo: Demo) -> None:
    demo.wait_until_it_says("The same command resumes")
    time.sleep(1.0)
    demo.note_family()
    demo.process.kill()
    demo.process.wait()
    (left,) = (path for path in demo.folder.iterdir() if path.name.startswith("kmigrate-demo-"))
    assert left.is_dir()
    for path in sorted(demo.folder.rglob("*"), reverse=True):  # folders stay, since nobody is there to remove them
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    demo.assert_nothing_is_left(processes=5)
