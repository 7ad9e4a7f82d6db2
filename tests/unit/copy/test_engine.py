"""The engine hears its workers, replaces dead ones, and leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kmigrate.copy.engine import WORKER_COMMAND, Engine, Event, ProgressReceived, WorkerDied, WorkerStarted
from kmigrate.copy.orders import LeaseGrant
from kmigrate.kafka_types import Term
from tests.unit.copy.test_worker import KEY, SETTINGS, make_orders, partition

ROOT = Path(__file__).parents[3]
FAKE_WORKER = (sys.executable, "-P", "-m", "tests.unit.copy.fake_worker")


@pytest.fixture(autouse=True)
def _this_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def lock_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "workers.lock", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.fixture
def engine(tmp_path: Path, lock_fd: int) -> Iterator[Engine]:
    engine = Engine(
        [SETTINGS, replace(SETTINGS, worker=1)],
        workers_fd=lock_fd,
        log_path=tmp_path / "log",
        command=FAKE_WORKER,
    )
    engine.start()
    yield engine
    engine.stop()


def hear(engine: Engine, wanted: Callable[[Event], bool]) -> Event:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for event in engine.poll(0.5):
            if wanted(event):
                return event
    raise AssertionError("it never happened")


def is_gone(pid: int) -> bool:
    """Whether the process ended; a zombie that nobody has asked for yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_orders_go_down_and_progress_comes_up(engine: Engine) -> None:
    assert not engine.order(7, make_orders(1, {})), "there is no such worker"
    hear(engine, lambda event: isinstance(event, WorkerStarted) and event.worker == 1)
    engine.grant(LeaseGrant(term=Term(9), deadline_seconds=1e9))
    assert engine.order(0, make_orders(1, {KEY: [partition("a")]}))
    event = hear(engine, lambda event: isinstance(event, ProgressReceived))
    assert isinstance(event, ProgressReceived)
    assert (event.worker, event.progress.partitions[0].position) == (0, 9)


@pytest.mark.parametrize(("topic", "exit_code"), [("raise", 70), ("die", 3)])
def test_a_worker_that_ends_is_replaced_and_gets_the_grant(engine: Engine, topic: str, exit_code: int) -> None:
    engine.grant(LeaseGrant(term=Term(4), deadline_seconds=1e9))
    hear(engine, lambda event: isinstance(event, WorkerStarted))
    engine.order(0, make_orders(1, {KEY: [partition(topic)]}))
    died = hear(engine, lambda event: isinstance(event, WorkerDied))
    assert isinstance(died, WorkerDied)
    assert died.exit_code == exit_code
    assert is_gone(died.pid)
    assert engine.pids()[0] is None
    hear(engine, lambda event: isinstance(event, WorkerStarted) and event.worker == 0)
    assert engine.order(0, make_orders(2, {KEY: [partition("a")]}))
    event = hear(engine, lambda event: isinstance(event, ProgressReceived))
    assert isinstance(event, ProgressReceived)
    assert event.progress.partitions[0].position == 4


def test_a_worker_that_hangs_ends_with_the_engine(engine: Engine) -> None:
    hear(engine, lambda event: isinstance(event, WorkerStarted))
    assert engine.order(0, make_orders(1, {KEY: [partition("hang")]}))
    assert engine.order(1, make_orders(1, {KEY._replace(worker=1): [partition("a")]}))
    hear(engine, lambda event: isinstance(event, ProgressReceived))
    pids = [pid for pid in engine.pids().values() if pid]
    assert len(pids) == 2
    engine.stop()
    assert all(map(is_gone, pids))


def test_a_worker_ignores_an_interrupt_from_the_terminal(engine: Engine) -> None:
    hear(engine, lambda event: isinstance(event, WorkerStarted))
    engine.order(0, make_orders(1, {KEY: [partition("a")]}))
    hear(engine, lambda event: isinstance(event, ProgressReceived))
    pid = engine.pids()[0]
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    engine.order(0, make_orders(2, {KEY: [partition("b")]}))
    hear(engine, lambda event: isinstance(event, ProgressReceived) and event.progress.orders == 2)
    assert engine.pids()[0] == pid


def test_workers_end_when_their_owner_is_killed(tmp_path: Path, lock_fd: int) -> None:
    owner = f"""
import os, time
from pathlib import Path
from kmigrate.copy.engine import Engine
from tests.unit.copy.test_worker import KEY, SETTINGS, make_orders, partition
log = Path({str(tmp_path / "log")!r})
engine = Engine([SETTINGS], workers_fd={lock_fd}, log_path=log, command={FAKE_WORKER!r})
engine.start()
engine.poll(1)
engine.order(0, make_orders(1, {{KEY: [partition("a"), partition("hang")]}}))
time.sleep(0.5)
print(engine.pids()[0], flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", owner],
        stdout=subprocess.PIPE,
        pass_fds=[lock_fd],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert not is_gone(pid)
        process.kill()
        deadline = time.monotonic() + 10
        while not is_gone(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert is_gone(pid)


def test_a_worker_imports_no_room_of_the_owner() -> None:
    program = (
        f"import sys, {WORKER_COMMAND[-1]}, kmigrate.copy.pipeline;"
        "heavy = {'fastapi', 'pydantic', 'rich', 'click', 'yaml', 'sqlite3', 'httpx'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert result.stdout.strip() == "[]"


def test_a_worker_that_is_added_is_started_with_the_same_grant(engine: Engine) -> None:
    engine.grant(LeaseGrant(term=Term(9), deadline_seconds=1e9))
    engine.add(1)  # there already
    engine.add(2)
    hear(engine, lambda event: isinstance(event, WorkerStarted) and event.worker == 2)
    assert sorted(engine.pids()) == [0, 1, 2]
    assert engine.order(2, make_orders(1, {KEY: [partition("a")]}))
    event = hear(engine, lambda event: isinstance(event, ProgressReceived) and event.worker == 2)
    assert isinstance(event, ProgressReceived)
    assert event.progress.partitions[0].position == 9
