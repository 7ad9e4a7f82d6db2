"""One thread for a source broker, a target broker and a lane: it takes turns, and waits only inside the network.

A turn: adopt what the owner ordered → ask standings that are due → send what may be sent → wait for an answer → walk a
fetch answer and request the next at once, or believe append answers. There is one receive buffer; the next fetch answer
is read only when every batch of the last one is sent or dropped. A failed link is one more doubt, nothing else.

Gaps are filled beside that, many partitions' in one request, while those without gaps go on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kmigrate.cluster.network import Link, Network
from kmigrate.copy.brake import Brake
from kmigrate.copy.copier import (
    BRAKED,
    HELD_BY_QUOTA,
    IN_SYNC_PATIENCE_MS,
    THROTTLED,
    WAITING_FOR_LEASE,
    Copier,
    Phase,
)
from kmigrate.copy.fetching import FETCH_WAIT_MS, Fetching
from kmigrate.copy.gathering import GATHER_SECONDS, Gathering
from kmigrate.copy.guard import MAX_REQUESTS_IN_FLIGHT, append_timeout_ms, behind_seconds
from kmigrate.copy.identity import marker_producer_id
from kmigrate.copy.inquiry import Denied, Inquiry, Question, Unclear
from kmigrate.copy.links import FIRST_BACK_OFF_SECONDS, LAST_BACK_OFF_SECONDS, Links, Purpose
from kmigrate.copy.markers import MarkerErrand
from kmigrate.copy.orders import LeaseGrant, PartitionOrder, PipelineKey, PipelineOrder, SavedMaps, WorkerSettings
from kmigrate.copy.pieces import Batch, Room
from kmigrate.copy.progress import PipelineProgress
from kmigrate.copy.spending import Cause, Spending
from kmigrate.copy.tally import Tally
from kmigrate.copy.throttle import Gate, Throttle
from kmigrate.copy.trims import TrimErrand
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerAddress, Side, Term, TopicName, TopicPartition
from kmigrate.wire import calls, produce

ANSWER_MARGIN_BYTES = 64 << 10
"""What an answer needs besides the batches themselves."""
TURN_SECONDS = 0.5
BUSY_SECONDS = 0.05
"""How long a turn goes on while answers keep coming."""
PATIENCE_SECONDS = 0.1
"""How long unsent batches may hold the buffer while nothing can be sent."""
CAREFUL_SECONDS = 60.0
"""How long after a quota was exceeded one request at a time is sent: what lies behind another is read ever later."""
SAVED_SECONDS = 0.002
"""How often a pipeline looks for what the owner has saved, while records wait for it: nothing else wakes it up."""
REPORT_SECONDS = 0.2
PATROL_SECONDS = 1.0
PATROL_PARTITIONS = 100
TRIM_WALK_SECONDS = 1.0
_HINDRANCES = {
    WAITING_FOR_LEASE: Cause.LEASE,
    THROTTLED: Cause.LIMIT,
    BRAKED: Cause.LATENCY,
    HELD_BY_QUOTA: Cause.TARGET_QUOTA,
}
SLOW_SHARE_SECONDS = 0.1
"""A fetch of a topic that has a limit brings about so much of it, so that no answer makes a long debt."""
SMALLEST_SLOW_BYTES = 16 << 10


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
        self._brake = Brake()
        self._brokers = ((Side.SOURCE, key.source), (Side.TARGET, key.target))
        self._gate = Gate(meter, self._brokers)
        self._held_topics: frozenset[TopicName] = frozenset()
        self._unseen_topics: frozenset[TopicName] = frozenset()
        """Held for so long that nobody knows what the source has of them by now."""
        self._held_until = 0.0
        self._patience_seconds = {side: link.request_timeout_ms / 1000 for side, link in settings.links.items()}
        self._buffer = bytearray(buffer_bytes + ANSWER_MARGIN_BYTES)
        self._answer_buffer = bytearray(64 << 10)
        self._room = Room(buffer_bytes)
        patience_ms = settings.links[Side.TARGET].request_timeout_ms
        self._append_timeout_ms = append_timeout_ms(patience_ms)
        self._trims = TrimErrand(self._append_timeout_ms)
        self._trims_at = 0.0
        self._inquiry = Inquiry(network, settings.producer_id, settings.expiration_ms // 2, behind_seconds(patience_ms))

        self._copiers: dict[TopicPartition, Copier] = {}
        self._fetching = Fetching(network, self._links, self._copiers, buffer_bytes)
        self._loaded: dict[Copier, None] = {}
        self._lending: dict[Copier, None] = {}
        self._gapped: dict[Copier, None] = {}
        self._aligning: dict[Copier, None] = {}
        self._unsaved: dict[Copier, None] = {}
        self._doubting: dict[Copier, float] = {}
        self._changed: dict[Copier, None] = {}
        self._entries_told: dict[Copier, int] = {}
        self._filed: tuple[dict[Copier, Any], ...] = (
            self._loaded,
            self._lending,
            self._gapped,
            self._aligning,
            self._unsaved,
            self._entries_told,
            self._doubting,
            self._changed,
        )
        self._gaps_gather = Gathering(GATHER_SECONDS)
        self._released: list[TopicPartition] = []
        self._leaving: dict[Copier, None] = {}
        self._patrol: deque[Copier] = deque()
        self._patrol_at = 0.0

        self._sent: deque[_Sent] = deque()
        self._trouble = {Side.SOURCE: "", Side.TARGET: ""}
        self._careful_until = 0.0
        self._hindrance = ""
        self._told_hindrance = ""
        self._last_sent_at = 0.0
        self._tally = Tally()

        self._order: PipelineOrder | None = None
        self._orders_number = -1
        self._told_orders = -1
        self._paused = False
        self._saved: SavedMaps = {}
        self._spending = Spending()
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
            while self._send_and_wait() and not self._unsaved and self._network.steady_seconds() < until:
                pass  # answers come as fast as they are read: adopting and reporting have a moment
        except ClusterError as error:
            self._on_failure(error)
        self._spending.turn(self._network.steady_seconds(), self._network.cpu_seconds())
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
            for copier in self._copiers.values():
                self._note(copier)
            self._mark_changed(self._copiers.values())
        if number == self._orders_number and order is self._order:
            return
        self._order, self._orders_number = order, number
        wanted = {} if order is None else {part.partition: part for part in order.partitions}
        for partition in [tp for tp in self._copiers if tp not in wanted]:
            self._give_up(partition)
        for partition, part in wanted.items():
            self._take(partition, part)
        self._fetching.on_copiers_changed()
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
            self._fetching.forget_wish(copier)
            copier.on_order(order)
        self._note(copier)

    def _give_up(self, partition: TopicPartition) -> None:
        copier = self._copiers.pop(partition)
        self._fetching.forget(copier)
        self._inquiry.forget(partition)
        copier.on_doubt("given up")
        for known in self._filed:
            known.pop(copier, None)
        if copier.is_busy or self._trims.holds(copier):
            self._leaving[copier] = None
        else:
            self._released.append(partition)

    def _let_go(self, copier: Copier) -> None:
        """Reports a partition released once nothing of it is in flight here: its next holder cannot wait for that.

        A log start counts: one that moves behind the next holder's back may take away what proves our batches.
        """
        is_free = not copier.is_busy and not self._trims.holds(copier)
        if is_free and self._leaving.pop(copier, self) is None:
            self._released.append(copier.partition)
            self._urgent = True

    def _move(self, side: Side, address: BrokerAddress) -> None:
        if self._links.move(side, address):
            self._drop_links(side, f"the {side} broker moved to {address}")

    # ── links ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_failure(self, error: ClusterError) -> None:
        self._links.back_off[error.side].failed(self._network.steady_seconds())
        self._trouble[error.side] = str(error)
        self._urgent = True
        self._drop_links(error.side, str(error))

    def _drop_links(self, side: Side, reason: str) -> None:
        self._links.drop(side)
        if side is Side.SOURCE:
            self._fetching.lost()
            self._doubt_all(self._copiers.values(), reason)
            return
        self._inquiry.on_lost()
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
        self._fetching.touch(copier)
        for known, holds in (
            (self._loaded, copier.has_batch),
            (self._lending, copier.backlog.borrows),
            (self._gapped, copier.has_gap),
            (self._aligning, copier.phase is Phase.ALIGNING),
            (self._unsaved, copier.course.saved < copier.course.made),
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
        copier.on_silence(self._fetching.silent_ms(copier))
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
        if not self._loaded:
            self._gate.passed()
        while self._loaded and len(self._sent) < MAX_REQUESTS_IN_FLIGHT:
            now = self._network.steady_seconds()
            if self._sent and now < self._careful_until:
                return
            if now >= self._grant.deadline_seconds:
                self._hindrance = WAITING_FOR_LEASE
                return
            if self._gate.delay_seconds(now) > 0:
                self._hindrance = THROTTLED
                return
            if self._meter.latency_ms is not None and (self._sent or self._brake.delay_seconds(now) > 0):
                self._hindrance = "" if self._sent else BRAKED
                return
            if now < self._links.quota_until[Side.TARGET]:
                self._hindrance = HELD_BY_QUOTA
                return
            if not self._links.is_reachable(Side.TARGET):
                return
            if self._links.needs_time(Side.TARGET, Purpose.DATA):
                if self._sent:
                    return
                self._links.settle(Side.TARGET, Purpose.DATA)
                continue  # meanwhile the lease may have run out
            now_ms = self._network.wall_ms()
            sendable = [copier for copier in self._loaded if copier.can_append(now_ms)]
            if self._sent and not all(copier.is_guarded(now_ms) for copier in sendable):
                return
            batches: dict[bytes, list[tuple[int, memoryview]]] = {}
            sent: dict[tuple[bytes, int], tuple[Copier, Batch]] = {}
            size, by_topic = 0, Counter[TopicName]()
            for copier in sendable:
                batch = copier.take_append()
                topic, index = place = copier.place
                batches.setdefault(topic, []).append((index, batch.view))
                sent[place] = copier, batch
                size += batch.size
                if copier.partition.topic in self._meter.topics:
                    by_topic[copier.partition.topic] += batch.size
                if not copier.has_batch:
                    del self._loaded[copier]
                if not copier.backlog.borrows:
                    self._lending.pop(copier, None)
                    self._fetching.touch_sated(copier)
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
            for _, batch in sent.values():
                batch.view.release()  # bytes of its own need no memory any more
            self._last_sent_at = now
            self._meter.take(size, self._brokers, by_topic)
            self._gate.passed()

    def _read_appended(self) -> None:
        link = self._links.get(Side.TARGET, Purpose.DATA)
        answer = link.receive(self._answer_buffer)
        try:
            correlation_id, throttle_ms, answers = produce.parse_produce(answer)
        except ValueError as error:
            raise self._links.garbled(Side.TARGET, str(error)) from error
        now_ms = self._network.wall_ms()
        sent = self._sent.popleft()
        if correlation_id != sent.correlation_id or answers.keys() != sent.batches.keys():
            self._sent.appendleft(sent)
            raise self._links.garbled(Side.TARGET, "a Produce answer is not that of the request")
        for place, (copier, batch) in sent.batches.items():
            records = copier.records
            as_usual = copier.on_appended(batch, answers[place])
            if copier.records > records and batch.newest_ms >= 0:  # records of format v0 have no time
                self._tally.arrived(copier.partition.topic, now_ms - batch.newest_ms)
            if self._copiers.get(copier.partition) is not copier:
                self._let_go(copier)
                continue
            if as_usual:
                self._changed[copier] = None
            else:
                self._note(copier)
        self._links.back_off[Side.TARGET].succeeded()
        now = self._network.steady_seconds()
        self._brake.on_answer(now - sent.sent_at, now, self._meter.latency_ms)
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
            self._links.settle(Side.TARGET, Purpose.TRIMS)
            now = self._network.steady_seconds()
            if now < self._grant.deadline_seconds:
                self._trims.send(self._links.get(Side.TARGET, Purpose.TRIMS), wanting, now)

    def _read_trims(self) -> None:
        link, now = self._links.get(Side.TARGET, Purpose.TRIMS), self._network.steady_seconds()
        for copier in self._trims.receive(link, now):
            if self._copiers.get(copier.partition) is copier:
                self._note(copier)
            else:
                self._let_go(copier)

    # ── filling gaps ──────────────────────────────────────────────────────────────────────────────────────────

    def _send_markers(self) -> None:
        """Asks for the markers of every gap that comes next, unless such a request is under way."""
        if not self._gapped or self._markers.sent_at is not None or not self._links.is_reachable(Side.TARGET):
            return
        self._links.settle(Side.TARGET, Purpose.MARKERS)
        now = self._network.steady_seconds()
        if now >= self._grant.deadline_seconds:
            self._hindrance = WAITING_FOR_LEASE
            return
        if not self._gaps_gather.is_over(now, more_expected=bool(self._sent)):
            return
        gapped = list(self._gapped)
        link = self._links.get(Side.TARGET, Purpose.MARKERS)
        self._markers.send(link, gapped, self._grant.term, now)
        for copier in gapped:
            if copier.filling is not None:
                del self._gapped[copier]
            else:
                self._note(copier)

    def _read_markers(self) -> None:
        for copier in self._markers.receive(self._links.get(Side.TARGET, Purpose.MARKERS)):
            if self._copiers.get(copier.partition) is copier:
                self._note(copier)
            else:
                self._let_go(copier)
        self._links.back_off[Side.TARGET].succeeded()

    # ── fetching ──────────────────────────────────────────────────────────────────────────────────────────────

    def _hold_topics(self) -> None:
        """Topics that are beyond their own limit are not fetched; what is read of them already is still sent."""
        if not self._meter.topics and not self._fetching.is_restrained:
            return
        now = self._network.steady_seconds()
        here = Counter(copier.partition.topic for copier in self._copiers.values())
        delays = {topic: self._meter.topic_delay_seconds(topic, now) for topic in self._meter.topics if topic in here}
        held = frozenset(topic for topic, delay in delays.items() if delay > 0)
        self._held_until = now + min((delays[topic] for topic in held), default=0.0)
        slow = {
            topic: max(SMALLEST_SLOW_BYTES, int(rate.bytes_per_second * SLOW_SHARE_SECONDS) // here[topic])
            for topic, rate in self._meter.topics.items()
            if topic in here
        }
        self._fetching.hold(held, slow)
        long = frozenset(topic for topic in held if delays[topic] * 1000 > IN_SYNC_PATIENCE_MS)
        unseen = long | self._unseen_topics & held
        if (held, unseen) != (self._held_topics, self._unseen_topics):
            changed = held ^ self._held_topics | unseen ^ self._unseen_topics
            self._held_topics, self._unseen_topics = held, unseen
            self._mark_changed(c for c in self._copiers.values() if c.partition.topic in changed)

    def _send_fetch(self) -> None:
        self._hold_topics()
        self._fetching.send(paused=self._paused, is_writing=bool(self._sent) or self._markers.sent_at is not None)

    def _read_fetched(self) -> None:
        fetched = self._fetching.receive(self._buffer)
        self._wait_for_quota(Side.SOURCE, fetched.throttle_ms)
        now_ms = self._network.wall_ms()
        for part in fetched.parts:
            copier = part.copier
            is_heard = not self._paused and copier.on_fetched(
                part.fetched,
                part.offset,
                fetched.answer,
                now_ms,
                asked_ms=fetched.asked_ms,
                silent_ms=part.silent_ms,
            )
            self._fetching.on_walked(part, is_heard=is_heard)
            self._note(copier)
        self._fetching.on_all_walked()
        self._links.back_off[Side.SOURCE].succeeded()
        self._last_sent_at = self._network.steady_seconds()

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
        if self._fetching.asked_at is not None and fetch_link is not None and not self._lending:
            links.append(fetch_link)
        marker_link = self._links.known(Side.TARGET, Purpose.MARKERS)
        if self._markers.sent_at is not None and marker_link is not None:
            links.append(marker_link)
        trim_link = self._links.known(Side.TARGET, Purpose.TRIMS)
        if self._trims.sent_at is not None and trim_link is not None:
            links.append(trim_link)
        ready = self._network.wait(links, self._wait_seconds(now))
        self._spending.wait(self._waits_for(now), self._network.steady_seconds() - now)
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

    def _waits_for(self, now: float) -> Cause:
        """Whom the next answer is waited for, or what forbids to ask for one."""
        if self._hindrance:
            return _HINDRANCES[self._hindrance]
        if self._sent or self._lending:
            return Cause.TARGET
        if self._markers.sent_at is not None or self._unsaved:
            return Cause.GAPS
        if self._paused:
            return Cause.NOTHING
        if now < self._links.quota_until[Side.SOURCE]:
            return Cause.SOURCE_QUOTA
        if self._held_topics:
            return Cause.LIMIT
        return Cause.SOURCE if self._fetching.is_behind else Cause.NOTHING

    def _wait_seconds(self, now: float) -> float:
        wait = TURN_SECONDS
        if self._hindrance == THROTTLED:
            wait = min(wait, self._gate.delay_seconds(now))
        elif self._hindrance == BRAKED:
            wait = min(wait, self._brake.delay_seconds(now))
        elif self._lending:
            wait = min(wait, PATIENCE_SECONDS)
        if self._unsaved:
            wait = min(wait, SAVED_SECONDS)
        wait = min([wait, *(at - now for at in self._doubting.values() if at > now)])
        wait = min(wait, self._links.next_change(now), self._gaps_gather.take_wait_seconds(now))
        wait = min(wait, self._fetching.take_wait_seconds(now))
        if self._held_topics:
            wait = min(wait, self._held_until - now)
        return max(wait, 0.0)

    def _check_answers_due(self, ready: Sequence[Link]) -> None:
        """An answer that does not come is a lost connection; one that lay there while nobody looked is not."""
        now = self._network.steady_seconds()
        source_patience, target_patience = (self._patience_seconds[side] for side in (Side.SOURCE, Side.TARGET))
        if (
            self._fetching.asked_at is not None
            and not self._lending
            and self._links.known(Side.SOURCE, Purpose.DATA) not in ready
            and now - max(self._fetching.asked_at, self._links.quota_until[Side.SOURCE])
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

    def _hindrance_of(self, copier: Copier) -> str:
        topic = copier.partition.topic
        is_behind = copier.position < copier.source_end or topic in self._unseen_topics
        is_held = topic in self._held_topics and is_behind
        return THROTTLED if is_held and not self._hindrance else self._hindrance

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
                copier.progress(
                    paused=self._paused,
                    hindrance=self._hindrance_of(copier),
                    is_unseen=copier.partition.topic in self._unseen_topics,
                )
                for copier in self._changed
            ),
            released=tuple(self._released),
            source_trouble=self._trouble[Side.SOURCE],
            target_trouble=self._trouble[Side.TARGET],
            spent=self._spending.spent,
            latencies=self._tally.take(),
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
        start=order.start,
        own_from=order.own_from,
    )
