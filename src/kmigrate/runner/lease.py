"""One owner at a time may write for a migration; the target's group coordinator decides who, and a thread keeps it.

A grant ends 0.6 sessions after the *sending* of the last request that the coordinator answered well. So it ends
before the coordinator may give the lease away, however late the answer came, and workers stop by themselves.

Not covered: a coordinator that is cut off from its own cluster but not from us answers heartbeats out of its memory
while its successor drops us. Only a commit would fail there.

`LeaseMachine` (`lease_machine`) decides; `Lease` drives it on a thread; `NoLease` is what a test puts in its place.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.clock import steady_seconds
from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.copy.orders import LeaseGrant
from kmigrate.errors import (
    BrokerRefused,
    ClusterError,
    ConnectionLost,
    KmigrateError,
    Superseded,
    Unreachable,
)
from kmigrate.kafka_types import BrokerAddress, Side, Term, TopicPartition
from kmigrate.runner.lease_machine import (
    PROTOCOL,
    PROTOCOL_TYPE,
    Beat,
    Describe,
    Ended,
    FindCoordinator,
    Join,
    LeaseMachine,
    Leave,
    Pause,
    SaveMemberId,
    Step,
    Sync,
    fatal_error,
)
from kmigrate.wire import group_calls
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.group_calls import Coordinator

_FIRST_PAUSE_SECONDS = 0.2
_COORDINATOR_ERRORS = frozenset(
    {
        int(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
        int(ErrorCode.COORDINATOR_NOT_AVAILABLE),
        int(ErrorCode.NOT_COORDINATOR),
    }
)
_RELEASE_SECONDS = 0.5  # for each of the few things that a release waits for
_CHUNK_BYTES = 256 * 1024
_COMMIT_OVERHEAD_BYTES = 100


class Lease:
    """The lease of one migration, kept by a thread of its own.

    Callbacks come from that thread, during `acquire` from its caller's: `on_member_id` must have saved the id when it
    returns; `on_grant` gets every grant, also a revoked one (deadline past); `on_superseded` is the last to be called.
    """

    def __init__(
        self,
        side: Side,
        bootstrap: Sequence[tuple[str, int]],
        settings: ConnectionSettings,
        *,
        group_id: str,
        owner: str,
        on_member_id: Callable[[str], None],
        on_grant: Callable[[LeaseGrant], None] = lambda grant: None,
        on_superseded: Callable[[Superseded], None] = lambda error: None,
        predecessor_member_id: str | None = None,
        session_timeout_ms: int = 10_000,
        clock: Callable[[], float] = steady_seconds,
    ) -> None:
        self._side = side
        self._bootstrap = tuple(bootstrap)
        self._group_id = group_id
        self._session_timeout_ms = session_timeout_ms
        self._on_member_id = on_member_id
        self._on_grant = on_grant
        self._on_superseded = on_superseded
        self._clock = clock
        self._machine = LeaseMachine(
            group_id=group_id,
            owner=owner,
            session_seconds=session_timeout_ms / 1000,
            predecessor_member_id=predecessor_member_id,
        )
        # A request that takes a third of a session is not waited for: it is time to look for another coordinator.
        quick_ms = session_timeout_ms // 3
        self._settings = replace(
            settings,
            request_timeout_ms=min(settings.request_timeout_ms, quick_ms),
            connect_timeout_ms=min(settings.connect_timeout_ms, quick_ms),
        )
        # A JoinGroup waits for a frozen member's session or rebalance time-out, and for the initial rebalance delay.
        self._join_timeout_ms = 2 * session_timeout_ms + 5_000
        self._link = _CoordinatorLink(side, self._bootstrap, self._settings, group_id)
        self._slow: Connection | None = None
        self._commits = _CoordinatorLink(side, self._bootstrap, settings, group_id)
        self._commit_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._check_wanted = threading.Event()
        self._released = threading.Event()
        self._grant: LeaseGrant | None = None

    # -- for the owner

    @property
    def superseded(self) -> Superseded | None:
        """Why the lease is lost for good; None while it is not."""
        error = self._machine.error
        return error if isinstance(error, Superseded) else None

    @property
    def trouble(self) -> str:
        """Why the coordinator gives no good answer at the moment; empty if it does."""
        return self._machine.trouble

    def acquire(self, timeout_seconds: float) -> LeaseGrant:
        """Takes the lease, or raises: Refused names the holder, Blocked a missing right, Unreachable the last trouble.

        A frozen or dead holder is waited for: give at least two sessions.
        """
        deadline = self._clock() + timeout_seconds
        try:
            self._drive(until=deadline)
            grant = self._machine.grant
            if grant is None:
                raise self._machine.error or self._not_acquired(timeout_seconds)
        except BaseException:
            self.release()
            raise
        self._thread = threading.Thread(target=self._keep, name=f"lease {self._group_id}", daemon=True)
        self._thread.start()
        return grant

    def _not_acquired(self, timeout_seconds: float) -> Unreachable:
        trouble = self._machine.trouble or "the group coordinator did not complete the join"
        return Unreachable(
            f"no lease of the group {self._group_id} within {timeout_seconds:g} s: {trouble}",
            side=self._side,
            hint="a frozen owner is dropped after its session; a group coordinator must be reachable from here",
        )

    def grant(self) -> LeaseGrant:
        """The newest grant; its deadline may be past."""
        if self._grant is None:
            raise RuntimeError("the lease was never acquired")
        return self._grant

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> Mapping[TopicPartition, str]:
        """Commits (offset, metadata), fenced by the term; returns what was not committed, with the reason.

        A fenced commit makes the thread ask at once whether the lease is still ours. What failed is the caller's to
        repeat. Topics must exist on the target. From any thread.
        """
        membership = self._machine.membership
        if membership is None or self._released.is_set():
            return dict.fromkeys(offsets, "the lease is not held")
        failures: dict[TopicPartition, str] = {}
        with self._commit_lock:
            for chunk in split_commits(offsets):
                failures.update(self._commit_chunk(membership, chunk))
        return failures

    def _commit_chunk(
        self, membership: tuple[int, str], chunk: Mapping[TopicPartition, tuple[int, str]]
    ) -> dict[TopicPartition, str]:
        call = group_calls.offset_commit(self._group_id, *membership, chunk)
        try:
            answer = self._commits.connection().call(call)
        except KmigrateError as error:
            self._commits.forget()
            return dict.fromkeys(chunk, str(error))
        failed = {partition: code for partition, code in answer.items() if code}
        if len(failed) < len(answer):
            self._machine.on_commit_seen()
        if failed:
            self._doubt(set(failed.values()))
        return {partition: f"{error_name(code)} ({code})" for partition, code in failed.items()}

    def _doubt(self, codes: set[int]) -> None:
        if codes & {ErrorCode.ILLEGAL_GENERATION, ErrorCode.UNKNOWN_MEMBER_ID}:
            self._check_wanted.set()
            self._wake.set()
        if codes & _COORDINATOR_ERRORS:
            self._commits.forget()

    def committed(self, timeout_seconds: float = 30.0) -> Mapping[TopicPartition, tuple[int, str]]:
        """What was committed by whoever held the lease: (offset, metadata). Needs no lease. From any thread."""
        deadline = self._clock() + timeout_seconds
        while True:
            with self._commit_lock:
                try:
                    return self._fetch_commits()
                except ClusterError as error:
                    self._commits.forget()
                    passes = isinstance(error, (Unreachable, ConnectionLost)) or (
                        isinstance(error, BrokerRefused) and error.code in _COORDINATOR_ERRORS
                    )
                    if not passes or self._clock() >= deadline or self._released.is_set():
                        raise
            self._released.wait(_FIRST_PAUSE_SECONDS)

    def _fetch_commits(self) -> Mapping[TopicPartition, tuple[int, str]]:
        answer = self._commits.connection().call(group_calls.offset_fetch(self._group_id))
        codes = (answer.error, *(each.error for each in answer.partitions.values()))
        refused = next(filter(None, codes), None)
        if refused is not None:
            raise self._commits.refusal("OffsetFetch", refused)
        found = {
            partition: (each.offset, each.metadata) for partition, each in answer.partitions.items() if each.offset >= 0
        }
        if found:
            self._machine.on_commit_seen()
        return found

    def release(self) -> None:
        """Leaves the group, so that the next owner need not wait; takes no longer than a couple of seconds.

        Before this, workers must have stopped: the next owner may write at once. Safe to call twice.
        """
        if self._released.is_set():
            return
        coordinator = self._link.address  # the thread forgets it when it ends
        self._released.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_RELEASE_SECONDS)
        if self._machine.member_id and coordinator is not None:
            self._leave_quickly(coordinator)
        if self._thread is None or not self._thread.is_alive():
            self._close()

    def _leave_quickly(self, coordinator: BrokerAddress) -> None:
        """Leaves on a connection of its own, since the thread may be waiting on the other."""
        brief_ms = round(_RELEASE_SECONDS * 1000)
        brief = replace(self._settings, request_timeout_ms=brief_ms, connect_timeout_ms=brief_ms)
        with contextlib.suppress(KmigrateError):
            connection = Connection(self._side, coordinator, brief)
            with contextlib.closing(connection):
                connection.call(group_calls.leave_group(self._group_id, self._machine.member_id))

    # -- the thread

    def _keep(self) -> None:
        try:
            self._drive(until=math.inf)
        finally:
            self._close()
        if self.superseded is not None and not self._released.is_set():
            self._on_superseded(self.superseded)

    def _drive(self, until: float) -> None:
        """Does what the machine wants until it ends, the lease is released or, at the start, acquired or too late."""
        starting = until < math.inf
        while not self._released.is_set():
            now = self._clock()
            step = self._machine.next_step(now)
            if isinstance(step, Ended) or now >= until:
                return
            if isinstance(step, Pause):
                self._pause(min(step.until_seconds, until) - now)
            else:
                self._perform(step, until)
            self._publish()
            if starting and self._machine.grant is not None:
                return

    def _pause(self, seconds: float) -> None:
        self._wake.wait(max(0.0, seconds))
        self._wake.clear()
        if self._check_wanted.is_set():
            self._check_wanted.clear()
            self._machine.check_now()

    def _publish(self) -> None:
        grant = self._machine.grant
        if grant is not None and grant is not self._grant:
            self._grant = grant
            self._on_grant(grant)

    def _perform(self, step: Step, until: float) -> None:
        sent_at = self._clock()
        try:
            self._ask(step, sent_at, until)
        except KmigrateError as error:
            if self._grant is None and not isinstance(error, (Unreachable, ConnectionLost)):
                raise  # an old broker, a wrong password: no repetition mends it
            self._lose_connections()
            self._machine.on_failed(str(error), self._clock())

    def _ask(self, step: Step, sent_at: float, until: float) -> None:
        machine, group_id = self._machine, self._group_id
        match step:
            case SaveMemberId():
                self._on_member_id(step.member_id)
                machine.on_member_id_saved()
            case FindCoordinator():
                self._lose_connections()
                machine.on_coordinator(self._link.find(), self._clock())
            case Leave():
                left = self._link.connection().call(group_calls.leave_group(group_id, step.member_id))
                machine.on_left(left, self._clock())
            case Describe():
                group = self._link.connection().call(group_calls.describe_group(group_id))
                machine.on_described(group, self._clock())
            case Join():
                call = group_calls.join_group(
                    group_id,
                    step.member_id,
                    session_timeout_ms=self._session_timeout_ms,
                    rebalance_timeout_ms=self._session_timeout_ms,
                    protocol_type=PROTOCOL_TYPE,
                    protocol=PROTOCOL,
                    metadata=step.metadata,
                )
                machine.on_joined(self._patient_connection(until).call(call), self._clock())
            case Sync():
                sync = group_calls.sync_group(group_id, step.generation, step.member_id, step.assignments)
                machine.on_synced(self._patient_connection(until).call(sync), sent_at, self._clock())
                self._close_patient()
            case Beat():
                beat = group_calls.heartbeat(group_id, step.generation, step.member_id)
                machine.on_beat(self._link.connection().call(beat), sent_at, self._clock())
            case Pause() | Ended():
                pass
            case _:
                assert_never(step)

    def _patient_connection(self, until: float) -> Connection:
        """A connection of its own for what takes longer than a heartbeat may."""
        if self._slow is None:
            left_ms = self._join_timeout_ms
            if until < math.inf:
                left_ms = max(1, min(left_ms, round((until - self._clock()) * 1000)))
            self._slow = self._link.open(replace(self._settings, request_timeout_ms=left_ms))
        return self._slow

    def _close_patient(self) -> None:
        if self._slow is not None:
            self._slow.close()
            self._slow = None

    def _lose_connections(self) -> None:
        self._close_patient()
        self._link.forget()

    def _close(self) -> None:
        self._close_patient()
        self._link.close()
        if self._commit_lock.acquire(timeout=_RELEASE_SECONDS):
            try:
                self._commits.close()
            finally:
                self._commit_lock.release()


class _CoordinatorLink:
    """The way to a group's coordinator; one thread at a time."""

    def __init__(
        self, side: Side, bootstrap: Sequence[tuple[str, int]], settings: ConnectionSettings, group_id: str
    ) -> None:
        self._side = side
        self._settings = settings
        self._group_id = group_id
        self._client = ClusterClient(side, bootstrap, settings)
        self.address: BrokerAddress | None = None
        self._trusts_last = False
        self._connection: Connection | None = None

    def find(self) -> Coordinator:
        """Asks who the coordinator is; with an error in the answer it stays unknown."""
        self._client.metadata([])  # all brokers' addresses: the bootstrap's may be the one that is down
        found = self._client.any(group_calls.find_coordinator(self._group_id))
        self.address = None if found.error else found.address
        return found

    def connection(self) -> Connection:
        """The connection to the coordinator, found and opened if need be."""
        if self._connection is None:
            self._connection = self.open(self._settings)
        return self._connection

    def open(self, settings: ConnectionSettings) -> Connection:
        """One more connection to the coordinator."""
        if self.address is None:
            found = self.find()
            if found.error:
                raise self.refusal("FindCoordinator", found.error)
        assert self.address is not None
        return Connection(self._side, self.address, settings)

    def refusal(self, what: str, code: int) -> KmigrateError:
        """The exception for an error code."""
        if code == ErrorCode.GROUP_AUTHORIZATION_FAILED:
            fatal = fatal_error(code, self._group_id)
            assert fatal is not None
            return fatal
        return BrokerRefused(what, code=code, name=error_name(code), side=self._side)

    def forget(self) -> None:
        """Drops connection and address: the coordinator is looked for anew, every other time by asking it last.

        Mostly it still is the coordinator, and others may not answer at all. But one that is cut off from its cluster
        goes on naming itself.
        """
        if self.address is not None:
            self._trusts_last = not self._trusts_last
            (self._client.prefer if self._trusts_last else self._client.avoid)(self.address)
            self.address = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.forget()
        self._client.close()


def split_commits(
    offsets: Mapping[TopicPartition, tuple[int, str]],
) -> Iterator[dict[TopicPartition, tuple[int, str]]]:
    """The commits in parts that each fit into one batch of the coordinator's log (1 MB)."""
    chunk: dict[TopicPartition, tuple[int, str]] = {}
    size = 0
    for partition, (offset, metadata) in offsets.items():
        needed = len(partition.topic) + len(metadata.encode()) + _COMMIT_OVERHEAD_BYTES
        if chunk and size + needed > _CHUNK_BYTES:
            yield chunk
            chunk, size = {}, 0
        chunk[partition] = (offset, metadata)
        size += needed
    if chunk:
        yield chunk


class NoLease:
    """A lease that nobody keeps: always granted, never ending, committing nothing.

    For tests that show what the sequence guard is worth alone.
    """

    superseded: Superseded | None = None
    trouble = ""

    def __init__(self, term: int = 1) -> None:
        self._grant = LeaseGrant(term=Term(term), deadline_seconds=math.inf)

    def acquire(self, timeout_seconds: float) -> LeaseGrant:
        return self._grant

    def grant(self) -> LeaseGrant:
        return self._grant

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> Mapping[TopicPartition, str]:
        return {}

    def committed(self, timeout_seconds: float = 30.0) -> Mapping[TopicPartition, tuple[int, str]]:
        return {}

    def release(self) -> None:
        pass
