"""Spreads verification tasks over processes, one task at a time for each: reading and comparing takes a core.

The largest ranges come first, so that no process is left alone with one at the end. A process that dies takes only its
task with it: nothing is known of that partition then.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import NamedTuple, overload

from kmigrate.copy.child_environment import child_environment
from kmigrate.kafka_types import TopicPartition
from kmigrate.runner.verify_pair import PairOutcome, PairTask
from kmigrate.runner.verify_partition import Outcome, Task
from kmigrate.runner.verify_worker import Settings, Told

COMMAND = (sys.executable, "-P", "-c", "from kmigrate.runner.verify_worker import main; main()")
"""-P: a folder named `kafka` in the working directory must not be imported. Not -m: what the main module of a process
sends is not known by its name here."""
MOST_PROCESSES = 64
FEW_OFFSETS = 20_000
"""A process for each so many offsets at least: starting one takes half a second."""
_WAIT_SECONDS = 0.5
_END_SECONDS = 2.0

Work = Callable[[Sequence[Task]], Iterator[Told | Outcome]]
"""Carries tasks out, in any order: tells how they go, and what came of each."""

PairWork = Callable[[Sequence[PairTask]], Iterator[Told | Outcome | PairOutcome]]
"""The same for copies that another tool made; an `Outcome` is that of a process that died."""


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    connection: Connection


def choose_processes(wanted: int | None, cores: int, tasks: Iterable[Task | PairTask]) -> int:
    """How many processes are worth it; `wanted` None: as many as there are cores."""
    sizes = [task.end - task.start for task in tasks]
    most = cores if wanted is None else wanted
    return max(1, min(most, len(sizes), MOST_PROCESSES, 1 + sum(sizes) // FEW_OFFSETS))


@overload
def work_in_processes(settings: Settings, processes: int, tasks: Sequence[Task]) -> Iterator[Told | Outcome]: ...


@overload
def work_in_processes(
    settings: Settings, processes: int, tasks: Sequence[PairTask]
) -> Iterator[Told | Outcome | PairOutcome]: ...


def work_in_processes(
    settings: Settings, processes: int, tasks: Sequence[Task] | Sequence[PairTask]
) -> Iterator[Told | Outcome | PairOutcome]:
    """Carries the tasks out; whoever stops early ends the processes."""
    waiting: deque[Task | PairTask] = deque(sorted(tasks, key=lambda task: task.start - task.end))
    children: dict[int, _Child] = {}
    busy: dict[int, TopicPartition] = {}
    try:
        for number in range(min(processes, len(waiting))):
            children[number] = _start(settings)
        while waiting or busy:
            for number, child in list(children.items()):
                if waiting and number not in busy:
                    task = waiting.popleft()
                    busy[number] = task.partition
                    with contextlib.suppress(OSError):  # one that is gone shows when it is listened to
                        child.connection.send(task)
            numbers = {child.connection.fileno(): number for number, child in children.items() if number in busy}
            ready = wait([children[number].connection for number in numbers.values()], _WAIT_SECONDS)
            for number in [numbers[each.fileno()] for each in ready if isinstance(each, Connection)]:
                child = children[number]
                try:
                    message: Told | Outcome | PairOutcome = child.connection.recv()
                except (EOFError, OSError):
                    yield _died(child, busy.pop(number))
                    _end(children.pop(number))
                    if waiting:
                        children[number] = _start(settings)
                    continue
                if isinstance(message, Outcome | PairOutcome):
                    del busy[number]
                yield message
    finally:
        for child in children.values():
            _end(child)


def _start(settings: Settings) -> _Child:
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [*COMMAND, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env=child_environment(),
        )
    with contextlib.suppress(OSError):  # one that is gone shows when it is listened to
        ours.send(settings)
    return _Child(process, ours)


def _end(child: _Child) -> None:
    child.connection.close()
    child.process.terminate()
    try:
        child.process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()


def _died(child: _Child, partition: TopicPartition) -> Outcome:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(_END_SECONDS)
    reason = f"the process that compared {partition} ended (exit code {child.process.returncode})"
    return Outcome(partition=partition, compared_to=-1, failure=reason, hint="run it again; is there enough memory?")
