"""What one source broker has been told to fetch: a mirror of its incremental fetch session (KIP-227).  (pure)

Only partitions whose wish changed are named in the next request, so that a thousand idle ones cost nothing. A broker
that grants no session is told everything each time, rotated so that each partition comes first in turn.
"""

from __future__ import annotations

from typing import NamedTuple

from kmigrate.copy.orders import UNKNOWN_TIME_MS
from kmigrate.wire.fetch import FetchAnswer, Wish

PartitionKey = tuple[bytes, int]
_LAST_EPOCH = (1 << 31) - 1


class Request(NamedTuple):
    """What goes into the next Fetch request."""

    session_id: int
    session_epoch: int
    wishes: dict[bytes, list[Wish]]
    forgotten: dict[bytes, list[int]]


class _Asked(NamedTuple):
    """A request: its number, and when it was sent."""

    number: int
    at_ms: int


class FetchSession:
    """The session with one broker over one connection.

    It also knows until when a partition was silent: one that an answer leaves out has nothing new to tell since its
    wish was named, neither records nor another high watermark. An answer that a quota holds back may be an empty one
    that says nothing.
    """

    def __init__(self) -> None:
        self._id = 0
        self._epoch = 0
        self._wishes: dict[PartitionKey, Wish] = {}
        self._changed: dict[PartitionKey, None] = {}  # in order: requests do not depend on the hash seed
        self._forgotten: dict[PartitionKey, None] = {}
        self._named: dict[PartitionKey, int] = {}
        self._missed: set[PartitionKey] = set()
        self._asked = self._answered = self._full = self._full_before = _Asked(0, UNKNOWN_TIME_MS)

    def wish(self, topic: bytes, wish: Wish) -> None:
        """This partition is wanted from here on."""
        key = topic, wish.partition
        if self._wishes.get(key) != wish:
            self._wishes[key] = wish
            self._changed[key] = None
            self._forgotten.pop(key, None)

    def forget(self, topic: bytes, partition: int) -> None:
        """This partition is not wanted for now."""
        key = topic, partition
        if self._wishes.pop(key, None) is not None:
            self._changed.pop(key, None)
            self._named.pop(key, None)
            self._forgotten[key] = None

    def asked(self, topic: bytes, partition: int) -> int:
        """The offset that was last asked for; -1 if the partition is not wanted."""
        wish = self._wishes.get((topic, partition))
        return -1 if wish is None else wish.offset

    def asked_ms(self) -> int:
        """When the request was sent that was answered last."""
        return self._answered.at_ms

    def silent_ms(self, topic: bytes, partition: int, *, before_last: bool = False) -> int:
        """When the last request was sent whose answer left a partition out; -1 if none did since its wish was named.

        `before_last` is for a partition that is in the last answer: what the one before it said.
        """
        asked = self._full_before if before_last else self._full
        named = self._named.get((topic, partition))
        if named is None or asked.number < named or (topic, partition) in self._missed:
            return UNKNOWN_TIME_MS
        return asked.at_ms

    def miss(self, topic: bytes, partition: int) -> None:
        """What an answer told of the partition was dropped: the broker will not say it again."""
        self._missed.add((topic, partition))

    def hear(self, topic: bytes, partition: int) -> None:
        """What an answer told of the partition was taken up."""
        self._missed.discard((topic, partition))

    @property
    def empty(self) -> bool:
        """Nothing is wanted and the broker knows it."""
        return not self._wishes and not (self._forgotten and self._id)

    def request(self, now_ms: int = UNKNOWN_TIME_MS) -> Request:
        """The next request; what it names counts as told. `now_ms` is the time of sending."""
        self._asked = _Asked(self._asked.number + 1, now_ms)
        if self._id == 0:
            chosen = list(self._wishes)
            chosen = chosen[self._epoch % max(1, len(chosen)) :] + chosen[: self._epoch % max(1, len(chosen))]
            forgotten: dict[PartitionKey, None] = {}
            epoch = 0
            self._epoch += 1
        else:
            chosen, forgotten, epoch = list(self._changed), self._forgotten, self._epoch
        wishes: dict[bytes, list[Wish]] = {}
        for key in chosen:
            self._named[key] = self._asked.number
            wishes.setdefault(key[0], []).append(self._wishes[key])
        leaving: dict[bytes, list[int]] = {}
        for topic, partition in forgotten:
            leaving.setdefault(topic, []).append(partition)
        self._changed = {}
        self._forgotten = {}
        return Request(self._id, epoch, wishes, leaving)

    def on_answer(self, answer: FetchAnswer) -> None:
        """Adopts the session the broker granted, or starts over if it has lost it."""
        if answer.error:
            self.reset()
            return
        self._answered, self._full_before = self._asked, self._full
        if not answer.throttle_ms:
            self._full = self._asked
        if self._id == 0:
            self._id = answer.session_id
            self._epoch = 1 if self._id else self._epoch
        else:
            self._epoch = 1 if self._epoch == _LAST_EPOCH else self._epoch + 1

    def reset(self) -> None:
        """The broker knows nothing any more: the next request is a full one."""
        self._id = 0
        self._epoch = 0
        self._missed.clear()
        self._named.clear()
        self._forgotten = {}
        self._changed = dict.fromkeys(self._wishes)
