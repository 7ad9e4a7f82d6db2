"""Verification tasks are spread over processes; one that dies takes only its task with it."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.kafka_types import Partition, Side
from kmigrate.runner import verify_processes
from kmigrate.runner.reach import Reach
from kmigrate.runner.verify_partition import Outcome, Task
from kmigrate.runner.verify_processes import FEW_OFFSETS, choose_processes, work_in_processes
from kmigrate.runner.verify_worker import Pacer, Settings, Told

from .verified_logs import ONE, Both

CHILD = """
import os, sys
from multiprocessing.connection import Connection
from kmigrate.runner.verify_partition import Outcome
from kmigrate.runner.verify_worker import Told
from kmigrate.verify.walk import Amounts

connection = Connection(int(sys.argv[1]))
assert connection.recv().bytes_per_second == 5
while True:
    try:
        task = connection.recv()
    except EOFError:
        os._exit(0)
    if task.partition.partition == 2:
        os._exit(9)
    connection.send(Told(task.partition, 1, Amounts(records=1)))
    connection.send(Outcome(partition=task.partition, compared_to=task.end))
"""


def settings() -> Settings:
    reach = Reach(side=Side.SOURCE, bootstrap=(("nowhere", 1),), settings=ConnectionSettings(client_id="test"))
    return Settings(source=reach, target=replace(reach, side=Side.TARGET), bytes_per_second=5)


def tasks(*sizes: int) -> list[Task]:
    task = Both().task()
    return [
        replace(task, partition=ONE._replace(partition=Partition(number)), start=0, end=size)
        for number, size in enumerate(sizes)
    ]


@pytest.fixture(autouse=True)
def _child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_processes, "COMMAND", (sys.executable, "-P", "-c", CHILD))


@pytest.mark.parametrize("processes", [1, 2])
def test_every_task_is_carried_out_and_a_dead_process_is_told(processes: int) -> None:
    found = list(work_in_processes(settings(), processes, tasks(10, 40, 20, 30)))
    outcomes = {each.partition.partition: each for each in found if isinstance(each, Outcome)}
    assert {number: each.compared_to for number, each in outcomes.items()} == {0: 10, 1: 40, 2: -1, 3: 30}
    assert "exit code 9" in outcomes[Partition(2)].failure
    assert len([each for each in found if isinstance(each, Told)]) == 3


def test_the_largest_task_comes_first() -> None:
    found = list(work_in_processes(settings(), 1, tasks(10, 40)))
    assert [each.partition.partition for each in found if isinstance(each, Outcome)] == [1, 0]


def test_whoever_stops_early_ends_the_processes() -> None:
    work = work_in_processes(settings(), 2, tasks(10, 40))
    assert isinstance(next(work), Told)
    work.close()
    with pytest.raises(StopIteration):
        next(work)


def test_as_many_processes_are_started_as_it_is_worth() -> None:
    much = FEW_OFFSETS * 10
    assert choose_processes(None, 4, tasks(10, 10)) == 1
    assert choose_processes(None, 4, tasks(*[much] * 9)) == 4
    assert choose_processes(None, 4, tasks(much, much)) == 2
    assert choose_processes(3, 16, tasks(*[much] * 9)) == 3
    assert choose_processes(None, 4, []) == 1


def test_a_pacer_keeps_to_its_rate() -> None:
    now, slept = 0.0, 0.0

    def sleep(seconds: float) -> None:
        nonlocal now, slept
        now, slept = now + seconds, slept + seconds

    pacer = Pacer(100, sleep, lambda: now)
    for _ in range(10):
        pacer(50)
    assert slept == pytest.approx(5.0)
    Pacer(None, sleep, lambda: now)(1_000_000)
    assert slept == pytest.approx(5.0)
