"""The process that copies back: an ordinary owner of the derived migration, as the child of the migration's owner.

Rule: it ends when the pipe to its parent does, however that comes: what was sent is finished first, but not for longer
than a moment. What it would log goes up the pipe.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import NoReturn

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.rates import rate_limits
from kmigrate.errors import Blocked, KmigrateError
from kmigrate.kafka_types import BrokerId, Offset, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.runner.back_manifest import BACK
from kmigrate.runner.back_messages import BackSettings, Failed, Logged, Told, Word
from kmigrate.runner.back_seed import begun
from kmigrate.runner.desk import Desk
from kmigrate.runner.effects import Effects
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.owner import Owner
from kmigrate.runner.reach import Reach
from kmigrate.runner.status import StatusDocument
from kmigrate.state.store import Store
from kmigrate.topics.alter import Altered
from kmigrate.topics.create import Failed as Refusal
from kmigrate.topics.describe import describe_settings, describe_topics, in_batches
from kmigrate.topics.hold import HELD_KEYS, MAX_MESSAGE_BYTES
from kmigrate.topics.put_hold import plan_hold
from kmigrate.wire import config_calls

log = logging.getLogger(__name__)

TELL_SECONDS = 0.25
GRACE_SECONDS = 15.0
"""How long ending in order may take; then it ends all the same."""
PREDECESSOR_SECONDS = 2 * GRACE_SECONDS
HOLD_SECONDS = 60.0
SETTLE_SECONDS = 1.0
"""What a broker shows is in force in its logs a moment later."""
_AGAIN_SECONDS = 0.5


class _Ended(Exception):
    """The pipe to the parent has ended."""


class Line:
    """The pipe to the parent: what is said is dropped once nobody listens."""

    def __init__(self, connection: Connection) -> None:
        self.ended = threading.Event()
        self._connection = connection
        self._lock = threading.Lock()

    def listen(self) -> None:
        """Waits for the end of the pipe, on a thread of its own, and sees to it that the process ends then."""
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._connection.recv()
        self.ended.set()
        time.sleep(GRACE_SECONDS)
        os._exit(0)

    def say(self, message: Told | Logged | Failed) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._connection.send(message)

    def check(self) -> None:
        """Raises what ends the run, if the pipe has ended."""
        if self.ended.is_set():
            raise _Ended


class _LogUp(logging.Handler):
    """Sends what is logged up the pipe."""

    def __init__(self, line: Line) -> None:
        super().__init__(logging.INFO)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)  # with its traceback, if it has one
        self._line.say(Logged(record.name, record.levelno, text))


def log_up(line: Line) -> None:
    """From now on everything that is logged goes up the pipe."""
    root = logging.getLogger()
    root.addHandler(_LogUp(line))
    root.setLevel(logging.WARNING)
    logging.getLogger("kmigrate").setLevel(logging.INFO)


class Teller:
    """Says what is new, a few times a second."""

    def __init__(self, line: Line, latest: Callable[[], dict[TopicPartition, PartitionProgress]]) -> None:
        self._line = line
        self._latest = latest
        self._told: dict[TopicPartition, Word] = {}
        self._state = self._shown = ("", "")
        self._next = 0.0

    def show(self, document: StatusDocument) -> None:
        self._state = document.state.value, document.reason

    def tell(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + TELL_SECONDS
        new = {tp: word for tp, each in self._latest().items() if (word := word_of(each)) != self._told.get(tp)}
        if new or self._state != self._shown:
            self._told |= new
            self._shown = self._state
            self._line.say(Told(new, *self._state))


def word_of(progress: PartitionProgress) -> Word:
    """What is said of a partition.  (pure)"""
    return Word(
        Offset(progress.position) if progress.position >= 0 else None,
        progress.stop,
        Offset(progress.target_end) if progress.target_end >= 0 else None,
        progress.offset_class,
    )


def main() -> NoReturn:
    """The whole life of the process; called with the number of its end of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all; the parent decides
    connection = Connection(int(sys.argv[1]))
    try:
        settings: BackSettings = connection.recv()
    except (EOFError, OSError):
        os._exit(0)
    line = Line(connection)
    line.listen()
    log_up(line)
    exit_code = _run(settings, line)
    os._exit(exit_code)  # a thread that is stuck in a call cannot hold the process back


def _run(settings: BackSettings, line: Line) -> int:
    try:
        _own(settings, line)
    except _Ended:
        return 0
    except KmigrateError as error:
        log.error("%s", error)
        line.say(Failed(str(error), error.hint))
        return error.exit_code
    except Exception as error:  # the outermost edge of the process
        log.exception("copying back failed")
        line.say(Failed(f"{type(error).__name__}: {error}", ""))
        return 1
    return 0


def _own(settings: BackSettings, line: Line) -> None:
    manifest = settings.manifest
    folder = MigrationFolder(settings.folder, BACK)
    with (
        folder.take_ownership(waiting=log.info, patience_seconds=PREDECESSOR_SECONDS) as ownership,
        contextlib.closing(Store.open(folder.path)) as store,
    ):
        desk = Desk(store, lambda: None, manifest_limits=rate_limits(manifest.limits))
        owner = Owner(
            manifest,
            ownership,
            store,
            desk,
            report=lambda sentence: log.info("%s", sentence),
            before_copying=lambda may_write: put_under_hold(manifest, store, may_write, line),
            is_mirrored=False,
        )
        teller = Teller(line, owner.latest)

        def between_turns() -> None:
            line.check()
            teller.tell()

        try:
            owner.start()
            owner.wait(False, teller.show, between_turns)
        finally:
            owner.stop()


def put_under_hold(manifest: Manifest, store: Store, may_write: Callable[[], bool], line: Line) -> None:
    """Puts all topics on the copy back's target under hold that are not; raises Blocked if one is refused."""
    source = Reach.of(Side.SOURCE, manifest.source, manifest.name).client()
    target = Reach.of(Side.TARGET, manifest.target, manifest.name).client()
    try:
        names = sorted({partition.topic for partition in begun(store)})
        most_bytes = {
            name: int(settings[MAX_MESSAGE_BYTES])
            for name, settings in describe_topics(source, names, [MAX_MESSAGE_BYTES]).items()
            if MAX_MESSAGE_BYTES in settings
        }
        found = describe_settings(target, names, HELD_KEYS)
        effects = Effects(store, source, target, may_write)
        free = [name for name in names if name not in found or plan_hold(found[name], most_bytes.get(name))]
        for name in free:
            _hold(effects, name, most_bytes.get(name), line)
        _wait_for_all_brokers(target, names, most_bytes, line)
        if free:
            line.ended.wait(SETTLE_SECONDS)
            line.check()
    finally:
        source.close()
        target.close()


def _wait_for_all_brokers(
    target: ClusterClient, names: Sequence[TopicName], most_bytes: Mapping[TopicName, int], line: Line
) -> None:
    """A broker that does not know of the hold yet would stamp records anew, and delete what is old."""
    deadline = time.monotonic() + HOLD_SECONDS
    for broker in target.metadata([]).brokers:
        while late := _lacking(target, broker, names, most_bytes):
            if time.monotonic() >= deadline:
                raise Blocked(f"broker {broker} of the migration's source does not show the hold of topic {late}")
            line.ended.wait(_AGAIN_SECONDS)
            line.check()


def _lacking(
    target: ClusterClient, broker: BrokerId, names: Sequence[TopicName], most_bytes: Mapping[TopicName, int]
) -> TopicName | None:
    for some in in_batches(names):
        answer = target.broker(broker, config_calls.describe_topic_configs(some, HELD_KEYS))
        for name in some:
            error, settings = answer.get(name, (-1, {}))
            if error or plan_hold(settings, most_bytes.get(name)):
                return name
    return None


def _hold(effects: Effects, name: TopicName, most_bytes: int | None, line: Line) -> None:
    deadline = time.monotonic() + HOLD_SECONDS
    while not isinstance(outcome := effects.put_hold(name, most_bytes), Altered):
        if isinstance(outcome, Refusal) or time.monotonic() >= deadline:
            raise Blocked(
                f"topic {name} on the migration's source could not be put under hold: {outcome.reason}",
                hint="copying back needs the right ALTER_CONFIGS on the topic",
            )
        line.ended.wait(_AGAIN_SECONDS)
        line.check()
