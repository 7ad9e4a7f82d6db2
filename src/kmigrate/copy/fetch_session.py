"""What one source broker has been told to fetch: a mirror of its incremental fetch session (KIP-227).  (pure)

Only partitions whose wish changed are named in the next request, so that a thousand idle ones cost nothing. A broker
that grants no session is told everything each time, rotated so that each partition comes first in turn.
"""

from __future__ import annotations

from typing import NamedTuple

from kmigrate.wire.fetch import FetchAnswer, Wish

PartitionKey = tuple[bytes, int]
_LAST_EPOCH = (1 << 31) - 1


class Request(NamedTuple):
    """What goes into the next Fetch request."""

    session_id: int
    session_epoch: int
    wishes: dict[bytes, list[Wish]]
    forgotten: dict[bytes, list[int]]


class FetchSession:
    """The session with one broker over one connection."""

    def __init__(self) -> None:
        self._id = 0
        self._epoch = 0
        self._wishes: dict[PartitionKey, Wish] = {}
        self._changed: dict[PartitionKey, None] = {}  # in order: requests do not depend on the hash seed
        self._forgotten: dict[PartitionKey, None] = {}

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
            self._forgotten[key] = None

    def asked(self, topic: bytes, partition: int) -> int:
        """The offset that was last asked for; -1 if the partition is not wanted."""
        wish = self._wishes.get((topic, partition))
        return -1 if wish is None else wish.offset

    @property
    def empty(self) -> bool:
        """Nothing is wanted and the broker knows it."""
        return not self._wishes and not (self._forgotten and self._id)

    def request(self) -> Request:
        """The next request; what it names counts as told."""
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
        elif self._id == 0:
            self._id = answer.session_id
            self._epoch = 1 if self._id else self._epoch
        else:
            self._epoch = 1 if self._epoch == _LAST_EPOCH else self._epoch + 1

    def reset(self) -> None:
        """The broker knows nothing any more: the next request is a full one."""
        self._id = 0
        self._epoch = 0
        self._forgotten = {}
        self._changed = dict.fromkeys(self._wishes)
