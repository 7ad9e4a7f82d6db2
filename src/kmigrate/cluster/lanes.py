"""Many calls at once: several connections to each broker, with one call under way on each.

A broker looks at a connection's next request only when it has answered the one before, so over one connection a
thousand calls take a thousand round trips. No threads: calls go out on all lanes, and answers are read in that order.

Rule: whether a call may be sent is asked just before it is; after a failure nothing more is sent to that broker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from kmigrate.cluster.connection import Connection
from kmigrate.errors import ClusterError, ConnectionLost, NoAnswer
from kmigrate.kafka_types import BrokerId
from kmigrate.wire.call import Call

T = TypeVar("T")
LANES = 4
"""How many connections to one broker."""


class NotSent(NamedTuple):
    """A call that certainly did not leave; an empty `reason`: it was not allowed to."""

    reason: str


class Lanes:
    """The connections that are kept for it; not thread-safe."""

    def __init__(self, connect: Callable[[BrokerId], Connection]) -> None:
        """`connect` opens a connection to a broker; raises ClusterError."""
        self._connect = connect
        self._kept: dict[BrokerId, list[Connection]] = {}

    def ask(
        self, calls: Sequence[tuple[BrokerId, Call[T]]], may_send: Callable[[], bool] = lambda: True
    ) -> list[T | ClusterError | NotSent]:
        """What became of each call, in their order; with a ClusterError the outcome is unknown."""
        return _Asking(calls, may_send, self._connect, self._kept).run()

    def close(self) -> None:
        for connections in self._kept.values():
            for connection in connections:
                connection.close()
        self._kept.clear()


@dataclass(slots=True)
class _Lane:
    """A connection and the call under way on it; `was_kept`: it may have been closed at the other end since."""

    broker: BrokerId
    connection: Connection
    was_kept: bool
    number: int = -1


class _Asking(Generic[T]):
    """One time of asking."""

    def __init__(
        self,
        calls: Sequence[tuple[BrokerId, Call[T]]],
        may_send: Callable[[], bool],
        connect: Callable[[BrokerId], Connection],
        kept: dict[BrokerId, list[Connection]],
    ) -> None:
        self._calls = calls
        self._may_send = may_send
        self._connect = connect
        self._kept = kept
        self._outcomes: list[T | ClusterError | NotSent] = [NotSent("")] * len(calls)
        self._under_way: deque[_Lane] = deque()
        self._waiting: dict[BrokerId, deque[int]] = {}
        for number, (broker, _) in enumerate(calls):
            self._waiting.setdefault(broker, deque()).append(number)

    def run(self) -> list[T | ClusterError | NotSent]:
        for broker, waiting in self._waiting.items():
            for _ in range(min(LANES, len(waiting))):
                self._begin(broker)
        while self._under_way:
            lane = self._under_way.popleft()
            if self._take_answer(lane):
                self._send_next(lane)
        return self._outcomes

    def _begin(self, broker: BrokerId) -> None:
        if not self._waiting[broker]:
            return
        kept = self._kept.get(broker)
        try:
            lane = _Lane(broker, kept.pop(), True) if kept else _Lane(broker, self._connect(broker), False)
        except ClusterError as error:
            self._give_up(broker, error)
        else:
            self._send_next(lane)

    def _send_next(self, lane: _Lane) -> None:
        """Sends what waits for this broker, or keeps the lane if nothing does."""
        waiting = self._waiting[lane.broker]
        if waiting and not self._may_send():
            for each in self._waiting.values():
                each.clear()
        if not waiting:
            self._kept.setdefault(lane.broker, []).append(lane.connection)
            return
        lane.number = waiting.popleft()
        try:
            lane.connection.ask(self._calls[lane.number][1])
        except ClusterError as error:
            if not self._ask_again(lane, error):
                return
        self._under_way.append(lane)

    def _take_answer(self, lane: _Lane) -> bool:
        """Whether the lane can go on."""
        call = self._calls[lane.number][1]
        try:
            self._outcomes[lane.number] = lane.connection.answer(call)
        except ClusterError as error:
            if self._ask_again(lane, error):
                self._under_way.append(lane)
            return False
        lane.was_kept = False
        return True

    def _ask_again(self, lane: _Lane, error: ClusterError) -> bool:
        """Once more on a new connection, if the old one was perhaps only idle for too long."""
        lane.connection.close()
        if lane.was_kept and isinstance(error, ConnectionLost) and not isinstance(error, NoAnswer):
            lane.was_kept = False
            try:
                lane.connection = self._connect(lane.broker)
                if self._may_send():  # opening it took its time
                    lane.connection.ask(self._calls[lane.number][1])
                    return True
                lane.connection.close()
            except ClusterError as second:
                error = second
        self._outcomes[lane.number] = error
        self._give_up(lane.broker, error)
        return False

    def _give_up(self, broker: BrokerId, error: ClusterError) -> None:
        for number in self._waiting[broker]:
            self._outcomes[number] = NotSent(str(error))
        self._waiting[broker].clear()
