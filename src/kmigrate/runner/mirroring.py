"""A thread of the owner mirrors its state: to a topic on the target, or where that is not allowed to a file.

Rule: under the lease only, and as a producer that fences whoever held it before. Once a term stands in the topic's
head, everything that is acted on in that term is in the topic first (offset maps) or a second later (the rest); so an
owner that began without the topic says so by its commits, whose term is later than the head's.

Whether there is a topic is decided at the start: one that cannot be written to later holds up what must be in it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from kmigrate.errors import ClusterError, KmigrateError
from kmigrate.kafka_types import ProducerId
from kmigrate.runner.mirror_topic import (
    BATCH_BYTES,
    MirrorAbsent,
    MirrorDenied,
    MirrorDiffers,
    MirrorFenced,
    MirrorTopic,
    Record,
    read_all,
)
from kmigrate.state.export import write_export
from kmigrate.state.mirror import HEAD_KEY, RUNS_TABLE, Head, next_writer, producer_of
from kmigrate.state.outbox import Change, Outbox, digest
from kmigrate.state.store import Store

log = logging.getLogger(__name__)

OPEN_SECONDS = 15.0
"""How long the start waits for the topic before it goes on without."""
EVERY_SECONDS = 1.0
EXPORT_EVERY_SECONDS = 1.0
GROUPS_EVERY_SECONDS = 30.0
"""The commits of groups change all the time: for them alone the file is not written more often."""
GROUPS_TABLE = "consumer_group"
EXPORT_SHARE = 10
"""The file is written for at most a tenth of the time."""
LAST_SECONDS = 3.0
AGAIN_SECONDS = 0.3
TOPIC_AGAIN_SECONDS = 60.0
"""How often an owner without the topic looks whether it may have it by now."""
MIRROR_TERM = "mirror.term"
"""A fact of this folder: the last term that it wrote into the topic's head."""


class Kept(Enum):
    """Where the state is mirrored to."""

    NOWHERE = "nowhere yet"
    TOPIC = "topic"
    FILE = "file"


class _UnderWay(NamedTuple):
    """A batch whose outcome is not known yet: the same bytes go out until it is."""

    changes: list[Change]
    head: Head
    reached: int


class NotOurs(KmigrateError):
    """The topic holds another state, which must not be overwritten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorSettings:
    """Whose state it is, who writes, and the file in place of the topic."""

    head: Head
    data_id: ProducerId
    export: Path


class Mirroring:
    """The mirror of one owner's state. `open` first, then `start`; `mark`, `has`, `wait` are for any thread."""

    def __init__(
        self,
        settings: MirrorSettings,
        store: Store,
        outbox: Outbox,
        topic: MirrorTopic,
        may_write: Callable[[], bool],
        *,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.kept = Kept.NOWHERE
        self._topic_may_be_there = False
        self._settings = settings
        self._head = settings.head
        self._store = store
        self._outbox = outbox
        self._topic = topic
        self._may_write = may_write
        self._wall_ms = wall_ms
        self._term = 0
        self._mirrored = 0
        """Everything up to this change is mirrored."""
        self._reason = ""
        self._trouble = ""
        self._under_way: _UnderWay | None = None
        self._is_compared = False
        """Whether what is in the topic is known: that of the store but for what is noted."""
        self._ending = False
        self._superseded = False
        self._urgent = threading.Event()
        self._moved = threading.Condition()
        self._next_export = self._next_groups = 0.0
        self._next_open = self._next_look = 0.0
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    # -- for the owner

    def open(self, term: int, seconds: float = OPEN_SECONDS) -> None:
        """Finds or makes the topic and brings it up to date; where that does not work, it is the file from now on."""
        self._term = term
        deadline = time.monotonic() + seconds
        while self.kept is Kept.NOWHERE:
            try:
                self._open()
            except (MirrorDenied, NotOurs, MirrorFenced) as error:
                self._reason = str(error)
                break
            except (ClusterError, MirrorAbsent, MirrorDiffers) as error:
                self._reason = str(error)
                self._topic_may_be_there = True
                if time.monotonic() >= deadline:
                    break
                time.sleep(AGAIN_SECONDS)
        if self.kept is Kept.TOPIC:
            return  # what the last attempt could not send, the thread does
        log.warning("the state is exported to a file: %s", self._reason)
        self.kept = Kept.FILE
        self._next_open = time.monotonic() + TOPIC_AGAIN_SECONDS
        self._export(anyway=True)

    @property
    def is_left_behind(self) -> bool:
        """Whether there may be a topic that does not get what this owner does."""
        return self.kept is Kept.FILE and self._topic_may_be_there

    def start(self) -> None:
        """Mirrors what changes from now on."""
        self._thread.start()

    def set_term(self, term: int) -> None:
        """The lease is held under another term now."""
        if term != self._term:
            self._term = term
            self._urgent.set()

    def covers(self, term: int) -> bool:
        """Whether what is committed may carry this term: nobody must take a topic for stale that is not."""
        return self.kept is not Kept.TOPIC or self._head.term >= term

    def mark(self) -> int:
        mark = self._outbox.mark()
        if self.kept is Kept.TOPIC and mark > self._mirrored:
            self._urgent.set()
        return mark

    def has(self, mark: int) -> bool:
        return self.kept is not Kept.TOPIC or self._mirrored >= mark

    def wait(self, mark: int, seconds: float) -> bool:
        with self._moved:
            self._moved.wait_for(lambda: self.has(mark) or bool(self._trouble) or self._ending, seconds)
        return self.has(mark)

    def flush(self, timeout_seconds: float) -> bool:
        """Whether everything that was decided by now is in the topic, or was within this time; any thread."""
        return self.wait(self.mark(), timeout_seconds) and self.kept is Kept.TOPIC

    @property
    def notices(self) -> tuple[str, ...]:
        """What an operator should know of it."""
        topic, file = self._topic.topic, self._settings.export
        if self.kept is Kept.FILE:
            return (
                f"the state is not mirrored on the target ({self._reason}): it is exported to {file} on every decision;"
                " keep a copy of that file on another disk",
            )
        if self._trouble:
            return (
                f"the state cannot be mirrored now ({self._trouble}): offset maps wait for it; make {topic} writable"
                " again, or delete it",
            )
        return ()

    def stop(self, *, superseded: bool) -> None:
        """Mirrors what is left, as far as that goes within a moment, unless another owner writes by now."""
        self._superseded = superseded
        if self._thread.is_alive() and not superseded and self.kept is Kept.TOPIC:
            self.wait(self.mark(), LAST_SECONDS)
        self._ending = True
        self._urgent.set()
        if self._thread.is_alive():
            self._thread.join(LAST_SECONDS)
        if self.kept is Kept.FILE and not superseded:
            self._export(anyway=False)
        if not self._thread.is_alive():
            self._topic.close()

    # -- the thread

    def _run(self) -> None:
        while True:
            self._urgent.wait(EVERY_SECONDS)
            self._urgent.clear()
            if self._ending:
                return
            try:
                self.step()
            except KmigrateError as error:
                self._say(str(error))
                time.sleep(AGAIN_SECONDS)
                self._urgent.set()
            except Exception as error:
                log.exception("mirroring the state failed")
                self._say(f"{type(error).__name__}: {error}")
                time.sleep(EVERY_SECONDS)

    def step(self) -> None:
        """Mirrors what changed; the thread takes one after the other."""
        if self.kept is Kept.FILE:
            self._export(anyway=False)
            if time.monotonic() >= self._next_open:
                self._next_open = time.monotonic() + TOPIC_AGAIN_SECONDS
                self._try_topic()
            return
        try:
            if not self._is_compared:
                self._begin_anew()
                if self.kept is not Kept.TOPIC:
                    return
            self._look()
            self._flush(self._term)
        except MirrorAbsent:  # deleted: nothing stale is left, and what is decided is mirrored anew
            self._begin_anew()
        except MirrorDiffers:
            self._is_compared = False
            raise
        self._say("")

    def _look(self) -> None:
        """Now and then, so that a topic that is deleted is made anew although nothing changes."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + TOPIC_AGAIN_SECONDS
            self._topic.look()

    def _begin_anew(self) -> None:
        try:
            self._open()
        except MirrorDenied as error:
            if self._topic_may_be_there:
                raise
            self._reason = str(error)
            self.kept = Kept.FILE
            self._export(anyway=True)
            self._wake()

    def _try_topic(self) -> None:
        try:
            self._open()
        except (KmigrateError, OSError) as error:
            self._reason = str(error)

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("the state cannot be mirrored: %s", trouble)
        self._trouble = trouble
        self._wake()

    def _wake(self) -> None:
        with self._moved:
            self._moved.notify_all()

    # -- the topic

    def _open(self) -> None:
        """Brings the topic up to date with the store, whatever is in it; raises NotOurs for another state."""
        self._is_compared = False
        self._topic_may_be_there = False
        try:
            there = self._topic.head()
        except MirrorAbsent:
            self._topic.create()
            there = self._topic.head()
        except MirrorDenied:
            self._topic_may_be_there = True
            raise
        self._topic_may_be_there = True
        self._refuse(there)
        end = self._fence(self._settings.head if there is None else there)
        mirrored = read_all(self._topic, end)
        self._outbox.note_differences({key: digest(value) for key, value in mirrored.items()})
        self._flush(self._head.term)
        self._is_compared = True
        self.kept = Kept.TOPIC  # before our term may stand in it: from then on it must get everything
        self._flush(self._term)
        self._settings.export.unlink(missing_ok=True)  # it would be older from now on
        self._wake()

    def _fence(self, last: Head) -> int:
        """A head that says no more than the last one; behind it nothing comes that was sent before."""
        self._under_way = None
        self._head = self._settings.head.as_of(
            term=last.term, writer=next_writer(self._term, last.writer), at_ms=self._wall_ms()
        )
        self._topic.begin(producer_of(self._settings.data_id, self._head.writer))
        if not self._may_write():
            raise MirrorDenied("the lease is not held now")
        return self._topic.append([Record(HEAD_KEY, self._head.to_bytes())], self._head.at)

    def _refuse(self, there: Head | None) -> None:
        if there is None:
            return
        topic = self._topic.topic
        reason = there.objection(self._settings.head)
        if reason:
            raise NotOurs(f"the topic {topic} {reason}; delete it if nobody needs it")
        if there.state != self._settings.head.state:
            raise NotOurs(
                f"the topic {topic} holds this migration's state from another folder; to have that one, move this"
                " folder away and run again; to have this one mirrored, delete the topic"
            )
        if there.term > int(self._store.get(MIRROR_TERM) or 0):
            raise NotOurs(f"the topic {topic} holds a later state than this folder, of term {there.term}")

    def _flush(self, term: int) -> None:
        """Sends what is noted, each batch with a head; it has this term once everything before it is sent."""
        while self._under_way is not None or self._outbox.mark() > self._mirrored or self._head.term < term:
            if self._under_way is None:
                self._under_way = self._next_batch(term)
            if not self._may_write():
                raise KmigrateError("the lease is not held now")
            changes, head, reached = self._under_way
            records = [Record(each.key, each.value) for each in changes]
            self._topic.append([*records, Record(HEAD_KEY, head.to_bytes())], head.at)
            self._under_way = None
            self._head = head
            self._outbox.forget(changes)
            self._mirrored = max(self._mirrored, reached)
            self._wake()

    def _next_batch(self, wanted: int) -> _UnderWay:
        mark = self._outbox.mark()
        changes = self._outbox.take(BATCH_BYTES)
        reached = changes[-1].number if changes else mark
        term = wanted if reached >= mark else self._head.term
        if term > int(self._store.get(MIRROR_TERM) or 0):
            self._store.put(MIRROR_TERM, str(term))
        head = self._head.as_of(term=term, writer=self._head.writer, at_ms=self._wall_ms())
        return _UnderWay(changes, head, reached)

    # -- the file

    def _export(self, *, anyway: bool) -> None:
        """Replaces the file if something changed that it holds; a large one not all the time."""
        now = time.monotonic()
        mark = self._outbox.mark()
        changed = self._outbox.changed_tables() - {RUNS_TABLE} if mark > self._mirrored else frozenset()
        wait = self._next_groups if changed <= {GROUPS_TABLE} else self._next_export
        if not anyway and (not changed or (now < wait and not self._ending)):
            return
        head = self._head.as_of(term=self._term, writer=0, at_ms=self._wall_ms())
        write_export(self._settings.export, head, self._outbox.rows())
        self._head = head
        self._outbox.clear(mark)
        self._mirrored = max(self._mirrored, mark)
        took = time.monotonic() - now
        self._next_export = now + max(EXPORT_EVERY_SECONDS, took * EXPORT_SHARE)
        self._next_groups = now + max(GROUPS_EVERY_SECONDS, took * EXPORT_SHARE)
