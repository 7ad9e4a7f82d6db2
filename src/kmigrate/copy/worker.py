"""A worker process runs one thread for each of its pipelines, and nothing else.

`WorkerSettings`, `LeaseGrant`, `MapsSaved` and `Orders` come down a socket pair, `PipelineProgress` goes up. The
end of the file means that the owner is gone or wants an end: the process is gone within a second, whatever
its pipelines do. A pipeline that raises ends the whole process, and the owner starts another one.

Started as `python -m kmigrate.copy.worker SOCKET_FD`. The descriptor of the lock on the migration's workers
is inherited and left open: it tells the next owner that this process still lives.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Protocol

from kmigrate.cluster.bell import Bell
from kmigrate.cluster.connection import RealNetwork
from kmigrate.cluster.network import Network
from kmigrate.copy.orders import LeaseGrant, MapsSaved, Orders, PipelineKey, PipelineOrder, SavedMaps, WorkerSettings
from kmigrate.copy.progress import PipelineProgress
from kmigrate.copy.spending import NOTHING_SPENT
from kmigrate.copy.tally import add_up
from kmigrate.copy.throttle import Throttle
from kmigrate.kafka_types import BrokerAddress, Term, TopicPartition

NO_GRANT = LeaseGrant(term=Term(-1), deadline_seconds=float("-inf"))
FAILED_EXIT_CODE = 70
"""A pipeline raised: a mistake in the program, not of a cluster."""

_REPORT_SECONDS = 0.2
_GRACE_SECONDS = 0.5
_SMALLEST_BUFFER_BYTES = 1 << 20
_LARGEST_BUFFER_BYTES = 16 << 20


class Turning(Protocol):
    """What a worker asks of a pipeline (`kmigrate.copy.pipeline.Pipeline`)."""

    def turn(
        self, order: PipelineOrder | None, orders_number: int, paused: bool, grant: LeaseGrant, saved: SavedMaps
    ) -> PipelineProgress | None:
        """Copies for a moment; None gives everything up. Returns a report when something changed."""

    def close(self) -> None:
        """Closes the connections."""


MakePipeline = Callable[[PipelineKey, WorkerSettings, Network, BrokerAddress, BrokerAddress, int, Throttle], Turning]


class _Post:
    """The newest order for one pipeline; older ones that it never saw are only remembered as skipped.

    The bell rings for a new one: a pipeline that has nothing to copy waits for half a second at a time.
    """

    def __init__(self) -> None:
        self.bell = Bell()
        self._lock = threading.Lock()
        self._order: PipelineOrder | None = None
        self._number = 0
        self._paused = False
        self._taken = True
        self._skipped: set[TopicPartition] = set()

    def put(self, order: PipelineOrder | None, number: int, paused: bool) -> None:
        with self._lock:
            if not self._taken:
                self._skipped |= partitions_of(self._order)
            self._order, self._number, self._paused, self._taken = order, number, paused, False
        self.bell.ring()

    def take(self) -> tuple[PipelineOrder | None, int, bool, set[TopicPartition]]:
        """The order, its number, whether copying is paused, and partitions of orders that were skipped."""
        with self._lock:
            skipped, self._skipped, self._taken = self._skipped, set(), True
            return self._order, self._number, self._paused, skipped

    @property
    def taken(self) -> bool:
        with self._lock:
            return self._taken


def partitions_of(order: PipelineOrder | None) -> set[TopicPartition]:
    """The partitions of an order; none of no order."""
    return set() if order is None else {each.partition for each in order.partitions}


class _Outbox:
    """Reports on their way up: those of one pipeline under the same Orders are merged until they are sent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._filled = threading.Condition()
        self._pending: dict[tuple[PipelineKey, int], PipelineProgress] = {}
        self._urgent = threading.Event()

    def put(self, report: PipelineProgress) -> None:
        with self._filled:
            under = report.key, report.orders
            earlier = self._pending.get(under)
            self._pending[under] = report if earlier is None else merge(earlier, report)
            self._filled.notify()
        if report.released or any(each.entries for each in report.partitions):
            self._urgent.set()

    def send_forever(self) -> None:
        """Sends what came together, at most every 0.2 s or when somebody waits for it; ends with the connection."""
        while True:
            with self._filled:
                self._filled.wait_for(lambda: self._pending)
                reports, self._pending = tuple(self._pending.values()), {}
                self._urgent.clear()
            try:
                self._connection.send(reports)
            except OSError:
                return  # the reading side sees the end of the file and ends the process
            self._urgent.wait(_REPORT_SECONDS)


def merge(earlier: PipelineProgress, later: PipelineProgress) -> PipelineProgress:
    """Two reports under the same Orders as one: the last word on every partition, and all released."""
    partitions = {each.partition: each for each in earlier.partitions}
    partitions.update((each.partition, each) for each in later.partitions)
    return PipelineProgress(
        key=later.key,
        orders=later.orders,
        partitions=tuple(partitions.values()),
        released=tuple(dict.fromkeys((*earlier.released, *later.released))),
        source_trouble=later.source_trouble or earlier.source_trouble,
        target_trouble=later.target_trouble or earlier.target_trouble,
        spent=earlier.spent if later.spent == NOTHING_SPENT else later.spent,
        latencies=add_up((*earlier.latencies, *later.latencies)),
    )


class Worker:
    """Hands orders to pipelines, each in its thread, and their reports to the outbox."""

    def __init__(
        self,
        settings: WorkerSettings,
        connection: Connection,
        network: RealNetwork,
        make_pipeline: MakePipeline,
        fail: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._network = network
        self._make_pipeline = make_pipeline
        self._fail = fail
        self._outbox = _Outbox(connection)
        self._throttle = Throttle(settings.rates_fd)
        self._grant = NO_GRANT
        self._saved: SavedMaps = {}
        self._ending = False
        self._lock = threading.Lock()
        self._posts: dict[PipelineKey, _Post] = {}
        self._threads: dict[PipelineKey, threading.Thread] = {}
        self._pipelines_ordered = 1
        self._lent_bytes = 0

    def run(self) -> None:
        """Follows the owner until the connection ends, then lets the pipelines end their turn."""
        threading.Thread(target=self._outbox.send_forever, name="reports", daemon=True).start()
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                break
            if isinstance(message, LeaseGrant):
                self._grant = message
            elif isinstance(message, MapsSaved):
                self._saved = {**self._saved, **message.saved}
            elif isinstance(message, Orders):
                self._adopt(message)
            else:
                raise TypeError(f"not a message for a worker: {message!r}")
        self._ending = True
        deadline = time.monotonic() + _GRACE_SECONDS
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _adopt(self, orders: Orders) -> None:
        self._throttle.set_rates(orders.rates)
        wanted = {order.key: order for order in orders.pipelines}
        with self._lock:
            self._pipelines_ordered = max(1, len(wanted))
            for key in self._posts.keys() | wanted.keys():
                post = self._posts.get(key)
                if post is None:
                    post = self._posts[key] = _Post()
                    thread = threading.Thread(target=self._run_pipeline, args=(key, post), daemon=True)
                    self._threads[key] = thread
                    post.put(wanted[key], orders.number, orders.paused)
                    thread.start()
                else:
                    post.put(wanted.get(key), orders.number, orders.paused)

    def _run_pipeline(self, key: PipelineKey, post: _Post) -> None:
        try:
            self._turn_until_given_up(key, post)
        except Exception:  # noqa: BLE001 - the outermost edge of a thread: nothing may end unseen
            traceback.print_exc()
            self._fail()

    def _turn_until_given_up(self, key: PipelineKey, post: _Post) -> None:
        pipeline: Turning | None = None
        network = self._network.hearing(post.bell)
        buffer_bytes = 0
        holding: set[TopicPartition] = set()
        while not self._ending:
            order, number, paused, skipped = post.take()
            wanted = partitions_of(order)
            released = skipped - wanted - holding
            holding |= wanted
            report = None
            if pipeline is None and order is not None:
                buffer_bytes = self._lend()
                pipeline = self._make_pipeline(
                    key,
                    self._settings,
                    network,
                    order.source,
                    order.target,
                    buffer_bytes,
                    self._throttle,
                )
            if pipeline is not None:
                report = pipeline.turn(order, number, paused, self._grant, self._saved)
            if report is not None:
                holding.difference_update(report.released)
                self._outbox.put(report)
            if released:
                self._outbox.put(_release(key, number, released))
            if order is None and not holding and self._retire(key, post):
                break
        post.bell.close()  # retired under the lock, or at the end: nobody rings it any more
        if pipeline is not None:
            pipeline.close()
            self._give_back(buffer_bytes)

    def _retire(self, key: PipelineKey, post: _Post) -> bool:
        """Ends a pipeline that has nothing left, unless a new order has just come."""
        with self._lock:
            if not post.taken:
                return False
            del self._posts[key], self._threads[key]
            return True

    def _lend(self) -> int:
        """A buffer's size: an equal share of the memory, no more than is left of it, but never less than 1 MB."""
        with self._lock:
            share = min(self._settings.memory_bytes // self._pipelines_ordered, _LARGEST_BUFFER_BYTES)
            left = self._settings.memory_bytes - self._lent_bytes
            lent = max(_SMALLEST_BUFFER_BYTES, min(share, left))
            self._lent_bytes += lent
            return lent

    def _give_back(self, buffer_bytes: int) -> None:
        with self._lock:
            self._lent_bytes -= buffer_bytes


def _release(key: PipelineKey, number: int, partitions: set[TopicPartition]) -> PipelineProgress:
    """What was ordered and withdrawn before the pipeline saw it was never held: it is free at once."""
    return PipelineProgress(
        key=key,
        orders=number,
        partitions=(),
        released=tuple(sorted(partitions)),
        source_trouble="",
        target_trouble="",
    )


def main(arguments: Sequence[str], make_pipeline: MakePipeline) -> None:
    """The whole life of a worker process; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all; the owner decides
    connection = Connection(int(arguments[0]))
    try:
        settings = connection.recv()
    except (EOFError, OSError):
        os._exit(0)
    network = RealNetwork(settings.links)
    try:
        Worker(settings, connection, network, make_pipeline, lambda: os._exit(FAILED_EXIT_CODE)).run()
    except Exception:  # noqa: BLE001 - the outermost edge of the process
        traceback.print_exc()
        os._exit(FAILED_EXIT_CODE)
    os._exit(0)  # a pipeline that is stuck in a call cannot hold the process back


if __name__ == "__main__":
    from kmigrate.copy.pipeline import Pipeline

    main(sys.argv[1:], Pipeline)
