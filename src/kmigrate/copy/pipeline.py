"""One thread for a source broker, a target broker and a lane: it takes turns, and waits only inside the network.

A turn: adopt what the owner ordered → ask standings that are due → send what may be sent → wait for an answer → walk a
fetch answer and request the next at once, or believe append answers. There is one receive buffer; the next fetch answer
is read only when every batch of the last one is sent or dropped. A failed link is one more doubt, nothing else.

Gaps are filled beside that, many partitions' in one request, while those without gaps go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kmigrate.cluster.network import Link, Network
from kmigrate.copy.copier import HELD_BY_QUOTA, THROTTLED, WAITING_FOR_LEASE, Copier, Phase
from kmigrate.copy.fetch_session import FetchSession
from kmigrate.copy.identity import marker_producer_id
from kmigrate.copy.inquiry import Denied, Inquiry, Question, Unclear
from kmigrate.copy.links import FIRST_BACK_OFF_SECONDS, LAST_BACK_OFF_SECONDS, Links, Purpose
from kmigrate.copy.markers import MarkerErrand
from kmigrate.copy.orders import LeaseGrant, PartitionOrder, PipelineKey, PipelineOrder, SavedMaps, WorkerSettings
from kmigrate.copy.pieces import Batch, Room
from kmigrate.copy.progress import PipelineProgress
from kmigrate.copy.throttle import Throttle
from kmigrate.copy.trims import TrimErrand
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerAddress, Side, Term, TopicPartition
from kmigrate.wire import calls, fetch, produce

MAX_REQUESTS_IN_FLIGHT = 5
FETCH_WAIT_MS = 500
ANSWER_MARGIN_BYTES = 64 << 10
"""What an answer needs besides the batches themselves."""
NEAR_SECONDS = 0.01
"""A source broker within this is near: waiting for its answers costs little …"""
NEAR_FETCH_BYTES = 3 << 20
"""… and answers of this size stay in the processor's cache until they are sent. Measured; see docs/performance.md."""
SMALLEST_SHARE_BYTES = 64 << 10
TURN_SECONDS = 0.5
BUSY_SECONDS = 0.05
"""How long a turn goes on while answers keep coming."""
PATIENCE_SECONDS = 0.1
"""How long unsent batches may hold the buffer while nothing can be sent."""
CAREFUL_SECONDS = 60.0
"""How long after a quota was exceeded one request at a time is sent: what lies behind another is read ever later."""
REPORT_SECONDS = 0.2
PATROL_SECONDS = 1.0
PATROL_PARTITIONS = 100
TRIM_WALK_SECONDS = 1.0


class _Sent(NamedTuple):
    """A Produce request under way."""

    correlation_id: int
    batches: dict[tuple[bytes, int], tuple[Copier, Batch]]
    sent_at: float


class Pipeline:
    """Copies the partitions of its order from one broker to another."""

    def __init__(
        self,
        key: PipelineKey,
        settings: WorkerSettings,
        network: Network,
        source: BrokerAddress,
        target: BrokerAddress,
        buffer_bytes: int,
        meter: Throttle,
    ) -> None:
        self._key = key
        self._settings = settings
        self._network = network
        self._links = Links(network, source, target)
        self._markers = MarkerErrand(marker_producer_id(settings.producer_id))
        self._meter = meter
        self._patience_seconds = {side: link.request_timeout_ms / 1000 for side, link in settings.links.items()}
        self._buffer = bytearray(buffer_bytes + ANSWER_MARGIN_BYTES)
        self._answer_buffer = bytearray(64 << 10)
        self._buffer_bytes = self._max_bytes = buffer_bytes
        self._room = Room(buffer_bytes)
        self._append_timeout_ms = max(1_000, settings.links[Side.TARGET].request_timeout_ms * 2 // 3)
        self._trims = TrimErrand(self._append_timeout_ms)
        self._trims_at = 0.0
        behind_seconds = (MAX_REQUESTS_IN_FLIGHT - 1) * self._append_timeout_ms / 1000
        self._inquiry = Inquiry(network, settings.producer_id, settings.expiration_ms // 2, behind_seconds)

        self._copiers: dict[TopicPartition, Copier] = {}
        self._fetched_as: dict[tuple[bytes, int], Copier] = {}
        self._touched: dict[Copier, None] = {}
        self._loaded: dict[Copier, None] = {}
        self._lending: dict[Copier, None] = {}
        self._gapped: dict[Copier, None] = {}
        self._aligning: dict[Copier, None] = {}
        self._doubting: dict[Copier, float] = {}
        self._changed: dict[Copier, None] = {}
        self._entries_told: dict[Copier, int] = {}
        self._filed: tuple[dict[Copier, Any], ...] = (
            self._touched,
            self._loaded,
            self._lending,
            self._gapped,
            self._aligning,
            self._entries_told,
            self._doubting,
            self._changed,
        )
        self._behind: set[Copier] = set()
        self._released: list[TopicPartition] = []
        self._leaving: dict[Copier, None] = {}
        self._patrol: deque[Copier] = deque()
        self._patrol_at = 0.0

        self._session = FetchSession()
        self._fetch_version = fetch.BY_ID
        self._fetching: tuple[int, float] | None = None
        self._sent: deque[_Sent] = deque()
        self._trouble = {Side.SOURCE: "", Side.TARGET: ""}
        self._careful_until = 0.0
        self._hindrance = ""
        self._told_hindrance = ""
        self._share_bytes = buffer_bytes
        self._largest_batch = SMALLEST_SHARE_BYTES
        self._last_sent_at = 0.0

        self._order: PipelineOrder | None = None
        self._orders_number = -1
        self._told_orders = -1
        self._paused = False
        self._saved: SavedMaps = {}
        self._grant = LeaseGrant(term=Term(-1), deadline_seconds=0.0)
        self._report_at = 0.0
        self._urgent = False

    # ── a turn ────────────────────────────────────────────────────────────────────────────────────────────────

    def turn(
        self, order: PipelineOrder | None, orders_number: int, paused: bool, grant: LeaseGrant, saved: SavedMaps
    ) -> PipelineProgress | None:
        """One turn; returns a report when something worth telling changed.

        `order` None gives up everything. Failures of the clusters are handled here: they never come out.
        """
        self._adopt(order, orders_number, paused, grant)
        self._adopt_saved(saved)
        try:
            self._ask_standings()
            self._walk_patrol()
            until = self._network.steady_seconds() + BUSY_SECONDS
            while self._send_and_wait() and self._network.steady_seconds() < until:
                pass  # answers come as fast as they are read: adopting and reporting have a moment
        except ClusterError as error:
            self._on_failure(error)
        return self._report()

    def close(self) -> None:
        """Ends every link; what is in flight is left to the next standing."""
        self._links.close()

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────

    def _adopt(self, order: PipelineOrder | None, number: int, paused: bool, grant: LeaseGrant) -> None:
        if grant is not self._grant:
            lapsed = self._grant.term >= 0 and self._network.steady_seconds() >= self._grant.deadline_seconds
            self._grant = grant
            if lapsed:
                self._doubt_all(self._copiers.values(), "the lease was lost and regained")
        if paused != self._paused:
            self._paused = paused
            for copier in self._copiers.values():
                copier.release()  # nothing more is sent; what is in flight is waited for
            self._touch_all()
            self._mark_changed(self._copiers.values())
        if number == self._orders_number and order is self._order:
            return
        self._order, self._orders_number = order, number
        wanted = {} if order is None else {part.partition: part for part in order.partitions}
        for partition in [tp for tp in self._copiers if tp not in wanted]:
            self._give_up(partition)
        for partition, part in wanted.items():
            self._take(partition, part)
        self._behind.update(copier for copier in self._copiers.values() if copier.source_end < 0)
        self._set_share()
        if order is not None:
            self._move(Side.SOURCE, order.source)
            self._move(Side.TARGET, order.target)
        self._urgent = True

    def _adopt_saved(self, saved: SavedMaps) -> None:
        if saved is self._saved:
            return
        before, self._saved = self._saved, saved
        for partition, each in saved.items():
            copier = self._copiers.get(partition)
            if copier is not None and before.get(partition) != each:
                copier.on_saved(each)
                self._note(copier)

    def _take(self, partition: TopicPartition, order: PartitionOrder) -> None:
        copier = self._copiers.get(partition)
        if copier is not None and copier.order == order:
            return
        if copier is None:
            copier = Copier(order, self._settings.producer_id, self._settings.expiration_ms // 2, self._room)
            self._copiers[partition] = copier
            self._patrol.append(copier)
        else:
            self._forget_fetch(copier)
            copier.on_order(order)
        self._note(copier)

    def _give_up(self, partition: TopicPartition) -> None:
        copier = self._copiers.pop(partition)
        self._forget_fetch(copier)
        self._inquiry.forget(partition)
        copier.on_doubt("given up")
        for known in self._filed:
            known.pop(copier, None)
        self._behind.discard(copier)
        if copier.is_busy:
            self._leaving[copier] = None
        else:
            self._released.append(partition)

    def _let_go(self, copier: Copier) -> None:
        """Reports a partition released once nothing of it is in flight here: its next holder cannot wait for that."""
        if not copier.is_busy and self._leaving.pop(copier, self) is None:
            self._released.append(copier.partition)
            self._urgent = True

    def _move(self, side: Side, address: BrokerAddress) -> None:
        if self._links.move(side, address):
            self._drop_links(side, f"the {side} broker moved to {address}")

    # ── links ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _fetch_link(self) -> Link:
        is_new = self._links.known(Side.SOURCE, Purpose.DATA) is None
        link = self._links.get(Side.SOURCE, Purpose.DATA)
        if is_new:
            by_id = link.highest_version(fetch.API_KEY) >= fetch.BY_ID
            self._speak(fetch.BY_ID if by_id else fetch.BY_NAME)
            near = link.opened_in_seconds < NEAR_SECONDS
            self._max_bytes = min(self._buffer_bytes, NEAR_FETCH_BYTES) if near else self._buffer_bytes
            self._set_share()
        return link

    def _speak(self, version: int) -> None:
        """Another version names topics otherwise: what was wished for is said anew."""
        if version != self._fetch_version:
            self._fetch_version = version
            self._session = FetchSession()
            self._fetched_as.clear()
            self._touch_all()

    def _on_failure(self, error: ClusterError) -> None:
        self._links.back_off[error.side].failed(self._network.steady_seconds())
        self._trouble[error.side] = str(error)
        self._urgent = True
        self._drop_links(error.side, str(error))

    def _drop_links(self, side: Side, reason: str) -> None:
        self._links.drop(side)
        if side is Side.SOURCE:
            self._fetching = None
            self._session.reset()
            self._doubt_all(self._copiers.values(), reason)
            return
        self._sent.clear()
        self._markers.lost()
        self._trims.lost()
        for copier in self._copiers.values():
            copier.on_lost(reason)
            self._note(copier)
        for copier in list(self._leaving):
            copier.on_lost(reason)
            self._let_go(copier)

    # ── doubt and standings ───────────────────────────────────────────────────────────────────────────────────

    def _note(self, copier: Copier) -> None:
        """Files a copier under what it needs next; call after everything that may have changed it."""
        copier.pass_gaps()
        self._touched[copier] = None
        for known, holds in (
            (self._loaded, copier.has_batch),
            (self._lending, copier.backlog.borrows),
            (self._gapped, copier.has_gap),
            (self._aligning, copier.phase is Phase.ALIGNING),
        ):
            if holds:
                known[copier] = None
            else:
                known.pop(copier, None)
        if copier.phase is Phase.TRIMMING:
            self._trims_at = 0.0
        if copier.course.made > self._entries_told.get(copier, 0):
            self._changed[copier] = None
            self._urgent = True  # what lies behind these entries waits for the owner
        if copier.changed:
            self._changed[copier] = None
            self._urgent = self._urgent or copier.stop is not None
        if copier.phase in (Phase.DOUBT, Phase.ASKING):
            if copier not in self._doubting:
                wait = min(LAST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * copier.fruitless)
                self._doubting[copier] = self._network.steady_seconds() + wait
        else:
            self._doubting.pop(copier, None)

    def _doubt_all(self, copiers: Iterable[Copier], reason: str) -> None:
        for copier in copiers:
            copier.on_doubt(reason)
            self._note(copier)

    def _ask_standings(self) -> None:
        if not self._doubting or not (self._links.is_reachable(Side.SOURCE) and self._links.is_reachable(Side.TARGET)):
            return
        now = self._network.steady_seconds()
        due = [c for c, at in self._doubting.items() if at <= now and c.wants_standing()]
        if not due:
            return
        source, target = self._links.get(Side.SOURCE, Purpose.ERRAND), self._links.get(Side.TARGET, Purpose.ERRAND)
        findings = self._inquiry.ask(source, target, [_question(copier) for copier in due])
        for copier in due:
            finding = findings[copier.partition]
            if isinstance(finding, Unclear):
                copier.on_unclear(finding.reason)
                self._doubting[copier] = now + 2 * FIRST_BACK_OFF_SECONDS
                if finding.moved:
                    self._trouble[Side(finding.moved)] = finding.reason
                    self._urgent = True
            elif isinstance(finding, Denied):
                copier.on_denied(finding.evidence)
            else:
                copier.on_standing(finding)
            self._note(copier)
        for side in Side:
            self._links.back_off[side].succeeded()

    def _walk_patrol(self) -> None:
        """Looks at the log ends of some idle partitions: a foreign record there must not wait for our next batch."""
        now = self._network.steady_seconds()
        if now < self._patrol_at or not self._links.is_reachable(Side.TARGET):
            return
        self._patrol_at = now + PATROL_SECONDS
        idle: dict[TopicPartition, Copier] = {}
        for _ in range(min(PATROL_PARTITIONS, len(self._patrol))):
            copier = self._patrol.popleft()
            if self._copiers.get(copier.partition) is not copier:
                continue
            self._patrol.append(copier)
            if copier.phase is Phase.COPYING and not copier.is_busy:
                idle[copier.partition] = copier
                self._hear_silence(copier)
        if not idle:
            return
        ends = self._links.get(Side.TARGET, Purpose.ERRAND).call(calls.list_offsets(idle, calls.LATEST))
        for partition, copier in idle.items():
            end = ends.get(partition)
            if end is None or end.error or end.offset != copier.floor:
                copier.on_doubt("the target's log end is not where it was left")
                self._note(copier)

    def _hear_silence(self, copier: Copier) -> None:
        topic = self._topic_key(copier)
        if topic is not None:
            copier.on_silence(self._session.silent_ms(topic, copier.partition.partition))
            if copier.changed:
                self._changed[copier] = None

    # ── appending ─────────────────────────────────────────────────────────────────────────────────────────────

    def _send_appends(self) -> None:
        """Sends as many requests as may be under way, the first pending batch of every partition in each.

        A broker reads a connection's next request only when the last one is answered, and one that waits for followers
        waits long: what was sent behind it arrives late, even when we are dead. Where the sequence guards that does no
        harm; a batch that is not guarded is sent with nothing before it. Neither does it read while a quota is
        exceeded: that time is waited out here.
        """
        self._hindrance = ""
        self._feed_filler()
        while self._loaded and len(self._sent) < MAX_REQUESTS_IN_FLIGHT:
            now = self._network.steady_seconds()
            if self._sent and now < self._careful_until:
                return
            if now >= self._grant.deadline_seconds:
                self._hindrance = WAITING_FOR_LEASE
                return
            if self._meter.delay_seconds(now) > 0:
                self._hindrance = THROTTLED
                return
            if now < self._links.quota_until[Side.TARGET]:
                self._hindrance = HELD_BY_QUOTA
                return
            if not self._links.is_reachable(Side.TARGET):
                return
            now_ms = self._network.wall_ms()
            sendable = [copier for copier in self._loaded if copier.can_append(now_ms)]
            if self._sent and not all(copier.is_guarded(now_ms) for copier in sendable):
                return
            batches: dict[bytes, list[tuple[int, memoryview]]] = {}
            sent: dict[tuple[bytes, int], tuple[Copier, Batch]] = {}
            size = 0
            for copier in sendable:
                batch = copier.take_append()
                topic, index = place = copier.place
                batches.setdefault(topic, []).append((index, batch.view))
                sent[place] = copier, batch
                size += batch.size
                if copier.backlog.kept or not batch.lent:
                    self._note(copier)
                elif not copier.pending:
                    del self._loaded[copier]
                    self._lending.pop(copier, None)
            if not sent:
                return
            link = self._links.get(Side.TARGET, Purpose.DATA)
            correlation_id = link.next_correlation_id()
            self._sent.append(_Sent(correlation_id, sent, now))
            link.send(
                produce.serialize_produce(
                    correlation_id=correlation_id,
                    client_id=link.client_id,
                    timeout_ms=self._append_timeout_ms,
                    batches=batches,
                )
            )
            self._last_sent_at = now
            self._meter.take(size)

    def _read_appended(self) -> None:
        link = self._links.get(Side.TARGET, Purpose.DATA)
        answer = link.receive(self._answer_buffer)
        try:
            correlation_id, throttle_ms, answers = produce.parse_produce(answer)
        except ValueError as error:
            raise self._links.garbled(Side.TARGET, str(error)) from error
        sent = self._sent.popleft()
        if correlation_id != sent.correlation_id or answers.keys() != sent.batches.keys():
            self._sent.appendleft(sent)
            raise self._links.garbled(Side.TARGET, "a Produce answer is not that of the request")
        for place, (copier, batch) in sent.batches.items():
            as_usual = copier.on_appended(batch, answers[place])
            if self._copiers.get(copier.partition) is not copier:
                self._let_go(copier)
                continue
            if as_usual:
                self._changed[copier] = None
            else:
                self._note(copier)
        self._links.back_off[Side.TARGET].succeeded()
        self._wait_for_quota(Side.TARGET, throttle_ms)

    def _wait_for_quota(self, side: Side, throttle_ms: int) -> None:
        if throttle_ms > 0:
            self._links.quota_until[side] = self._network.steady_seconds() + throttle_ms / 1000
            if side is Side.TARGET:
                self._careful_until = self._links.quota_until[side] + CAREFUL_SECONDS

    def _feed_filler(self) -> None:
        for copier in list(self._aligning):
            if not self._paused and copier.feed_filler(self._network.wall_ms()):
                self._note(copier)

    # ── log starts ────────────────────────────────────────────────────────────────────────────────────────────

    def _send_trims(self) -> None:
        """Now and then asks for the log starts that should move; never while paused."""
        now = self._network.steady_seconds()
        if self._paused or now < self._trims_at or self._trims.sent_at is not None:
            return
        if now >= self._grant.deadline_seconds or not self._links.is_reachable(Side.TARGET):
            return
        self._trims_at = now + TRIM_WALK_SECONDS
        wanting = [copier for copier in self._copiers.values() if copier.wants_trim(now)]
        if wanting:
            self._trims.send(self._links.get(Side.TARGET, Purpose.TRIMS), wanting, now)

    def _read_trims(self) -> None:
        link, now = self._links.get(Side.TARGET, Purpose.TRIMS), self._network.steady_seconds()
        for copier in self._trims.receive(link, now):
            if self._copiers.get(copier.partition) is copier:
                self._note(copier)

    # ── filling gaps ──────────────────────────────────────────────────────────────────────────────────────────

    def _send_markers(self) -> None:
        """Asks for the markers of every gap that comes next, unless such a request is under way."""
        if not self._gapped or self._markers.sent_at is not None or not self._links.is_reachable(Side.TARGET):
            return
        now = self._network.steady_seconds()
        if now >= self._grant.deadline_seconds:
            self._hindrance = WAITING_FOR_LEASE
            return
        gapped = list(self._gapped)
        link = self._links.get(Side.TARGET, Purpose.MARKERS)
        self._markers.send(link, gapped, self._grant.term, now)
        for copier in gapped:
            self._note(copier)

    def _read_markers(self) -> None:
        for copier in self._markers.receive(self._links.get(Side.TARGET, Purpose.MARKERS)):
            if self._copiers.get(copier.partition) is copier:
                self._note(copier)
            else:
                self._let_go(copier)
        self._links.back_off[Side.TARGET].succeeded()

    # ── fetching ──────────────────────────────────────────────────────────────────────────────────────────────

    def _touch_all(self) -> None:
        for copier in self._copiers.values():
            self._note(copier)

    def _forget_fetch(self, copier: Copier) -> None:
        topic = self._topic_key(copier)
        if topic is not None:
            self._session.forget(topic, copier.partition.partition)
            self._fetched_as.pop((topic, copier.partition.partition), None)

    def _topic_key(self, copier: Copier) -> bytes | None:
        topic_id = copier.order.source_topic_id
        return None if topic_id is None else fetch.topic_key(self._fetch_version, copier.partition.topic, topic_id)

    def _send_fetch(self) -> None:
        if self._fetching is not None or not self._links.is_reachable(Side.SOURCE):
            return
        if self._network.steady_seconds() < self._links.quota_until[Side.SOURCE]:
            return
        if self._touched or not self._session.empty:
            self._fetch_link()  # the broker's version decides how topics are named
        for copier in self._touched:
            topic = self._topic_key(copier)
            wish = None if self._paused else copier.fetch_wish()
            if topic is None:
                continue
            index = copier.partition.partition
            if wish is None:
                self._session.forget(topic, index)
                continue
            self._fetched_as[topic, index] = copier
            epoch = copier.order.source_epoch
            self._session.wish(topic, fetch.Wish(index, epoch, wish[0], wish[1], self._share_bytes))
        self._touched.clear()
        if self._session.empty:
            return
        link = self._fetch_link()
        request = self._session.request(self._network.wall_ms())
        correlation_id = link.next_correlation_id()
        self._fetching = correlation_id, self._network.steady_seconds()
        link.send(
            [
                fetch.serialize_fetch(
                    version=self._fetch_version,
                    correlation_id=correlation_id,
                    client_id=link.client_id,
                    max_wait_ms=FETCH_WAIT_MS,
                    max_bytes=self._max_bytes,
                    isolation_level=calls.READ_COMMITTED,
                    session_id=request.session_id,
                    session_epoch=request.session_epoch,
                    wishes=request.wishes,
                    forgotten=request.forgotten,
                )
            ]
        )

    def _read_fetched(self) -> None:
        answer = self._fetch_link().receive(self._buffer)
        assert self._fetching is not None, "an answer is read only while a request is under way"
        try:
            fetched = fetch.parse_fetch(answer, self._fetch_version)
        except ValueError as error:
            raise self._links.garbled(Side.SOURCE, str(error)) from error
        if fetched.correlation_id != self._fetching[0]:
            raise self._links.garbled(Side.SOURCE, "a Fetch answer is not that of the request")
        self._fetching = None
        self._wait_for_quota(Side.SOURCE, fetched.throttle_ms)
        self._session.on_answer(fetched)
        now_ms = self._network.wall_ms()
        for part in fetched.partitions:
            copier = self._fetched_as.get((part.topic, part.partition))
            if copier is None or self._paused:
                self._session.miss(part.topic, part.partition)
                continue
            asked = self._session.asked(part.topic, part.partition)
            is_heard = copier.on_fetched(
                part,
                asked,
                answer,
                now_ms,
                asked_ms=self._session.asked_ms(),
                silent_ms=self._session.silent_ms(part.topic, part.partition, before_last=True),
            )
            (self._session.hear if is_heard else self._session.miss)(part.topic, part.partition)
            if copier.has_batch:
                self._largest_batch = max(self._largest_batch, copier.next_size)
            if copier.fetch_offset < copier.source_end:
                self._behind.add(copier)
            else:
                self._behind.discard(copier)
            self._note(copier)
        self._set_share()
        self._links.back_off[Side.SOURCE].succeeded()
        self._last_sent_at = self._network.steady_seconds()

    def _set_share(self) -> None:
        """An equal share of the answer for each partition that has data, in steps of two so that it rarely changes."""
        parts = 1
        while parts < len(self._behind):
            parts *= 2
        share = max(self._max_bytes // parts, self._largest_batch)
        if share > self._share_bytes or share * 2 < self._share_bytes:
            self._share_bytes = share
            self._touch_all()

    # ── waiting ───────────────────────────────────────────────────────────────────────────────────────────────

    def _send_and_wait(self) -> bool:
        """Sends what may be sent, and waits for an answer that may be read now; returns whether one came.

        An answer that does not come in time is a lost connection.
        """
        self._send_appends()
        self._send_markers()
        self._send_trims()
        self._send_fetch()
        now = self._network.steady_seconds()
        links = []
        produce_link = self._links.known(Side.TARGET, Purpose.DATA)
        if self._sent and produce_link is not None:
            links.append(produce_link)
        fetch_link = self._links.known(Side.SOURCE, Purpose.DATA)
        if self._fetching is not None and fetch_link is not None and not self._lending:
            links.append(fetch_link)
        marker_link = self._links.known(Side.TARGET, Purpose.MARKERS)
        if self._markers.sent_at is not None and marker_link is not None:
            links.append(marker_link)
        trim_link = self._links.known(Side.TARGET, Purpose.TRIMS)
        if self._trims.sent_at is not None and trim_link is not None:
            links.append(trim_link)
        ready = self._network.wait(links, self._wait_seconds(now))
        self._check_answers_due(ready)
        if produce_link is not None and produce_link in ready:
            self._read_appended()
        if marker_link is not None and marker_link in ready:
            self._read_markers()
        if trim_link is not None and trim_link in ready:
            self._read_trims()
        if fetch_link is not None and fetch_link in ready:
            self._read_fetched()
            self._send_fetch()
        elif self._lending and now - self._last_sent_at > PATIENCE_SECONDS and not self._hindrance:
            for copier in list(self._lending):
                copier.release()
                self._note(copier)
        return bool(ready)

    def _wait_seconds(self, now: float) -> float:
        wait = TURN_SECONDS
        if self._hindrance == THROTTLED:
            wait = min(wait, self._meter.delay_seconds(now))
        elif self._lending:
            wait = min(wait, PATIENCE_SECONDS)
        wait = min([wait, *(at - now for at in self._doubting.values() if at > now)])
        wait = min(wait, self._links.next_change(now))
        return max(wait, 0.0)

    def _check_answers_due(self, ready: Sequence[Link]) -> None:
        """An answer that does not come is a lost connection; one that lay there while nobody looked is not."""
        now = self._network.steady_seconds()
        source_patience, target_patience = (self._patience_seconds[side] for side in (Side.SOURCE, Side.TARGET))
        if (
            self._fetching is not None
            and not self._lending
            and self._links.known(Side.SOURCE, Purpose.DATA) not in ready
            and now - max(self._fetching[1], self._links.quota_until[Side.SOURCE])
            > source_patience + FETCH_WAIT_MS / 1000
        ):
            raise self._links.garbled(Side.SOURCE, f"no answer to a Fetch within {source_patience:g} s")
        if (
            self._sent
            and self._links.known(Side.TARGET, Purpose.DATA) not in ready
            and now - max(self._sent[0].sent_at, self._links.quota_until[Side.TARGET]) > target_patience
        ):
            raise self._links.garbled(Side.TARGET, f"no answer to a Produce within {target_patience:g} s")
        for what, purpose, asked_at in (
            ("WriteTxnMarkers", Purpose.MARKERS, self._markers.sent_at),
            ("DeleteRecords", Purpose.TRIMS, self._trims.sent_at),
        ):
            waited_for = asked_at is not None and self._links.known(Side.TARGET, purpose) not in ready
            if waited_for and asked_at is not None and now - asked_at > target_patience:
                raise self._links.garbled(Side.TARGET, f"no answer to {what} within {target_patience:g} s")

    # ── reports ───────────────────────────────────────────────────────────────────────────────────────────────

    def _mark_changed(self, copiers: Iterable[Copier]) -> None:
        for copier in copiers:
            copier.changed = True
            self._changed[copier] = None

    def _report(self) -> PipelineProgress | None:
        now = self._network.steady_seconds()
        told = self._told_orders == self._orders_number
        if now < self._report_at and not self._urgent and told:
            return None
        if self._hindrance != self._told_hindrance:
            self._told_hindrance = self._hindrance
            self._mark_changed(c for c in self._copiers.values() if c.position < c.source_end)
        if not (self._changed or self._released or not told or any(self._trouble.values())):
            return None
        report = PipelineProgress(
            key=self._key,
            orders=self._orders_number,
            partitions=tuple(
                copier.progress(paused=self._paused, hindrance=self._hindrance) for copier in self._changed
            ),
            released=tuple(self._released),
            source_trouble=self._trouble[Side.SOURCE],
            target_trouble=self._trouble[Side.TARGET],
        )
        for copier in self._changed:
            copier.changed = False
            if copier.course.made:
                self._entries_told[copier] = copier.course.made
        self._changed.clear()
        self._released = []
        self._trouble = {Side.SOURCE: "", Side.TARGET: ""}
        self._told_orders = self._orders_number
        self._report_at = now + REPORT_SECONDS
        self._urgent = False
        return report


def _question(copier: Copier) -> Question:
    order = copier.order
    assert order.source_topic_id is not None, "a copier without a source is stopped"
    assert order.target_topic_id is not None, "a copier without a target is stopped"
    return Question(
        partition=copier.partition,
        source_topic_id=order.source_topic_id,
        target_topic_id=order.target_topic_id,
        source_epoch=order.source_epoch,
        target_epoch=order.target_epoch,
        quiet=copier.quiet,
        runs=copier.course.runs,
    )
