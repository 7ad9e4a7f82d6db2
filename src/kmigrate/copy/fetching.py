"""Fetches for all partitions of one pipeline: one request at a time, in one fetch session.

Only wishes that changed are named. Each partition with data gets an equal share of the answer. A partition that keeps
much already wishes for nothing: when many do, the request waits a moment for more of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.network import Link, Network
from kmigrate.copy.copier import Copier, Phase
from kmigrate.copy.fetch_session import FetchSession
from kmigrate.copy.gathering import GATHER_SECONDS, Gathering
from kmigrate.copy.links import Links, Purpose
from kmigrate.copy.orders import UNKNOWN_TIME_MS
from kmigrate.kafka_types import Side, TopicName, TopicPartition
from kmigrate.wire import calls, fetch

FETCH_WAIT_MS = 500
NEAR_SECONDS = 0.01
"""A source broker within this is near: waiting for its answers costs little …"""
NEAR_FETCH_BYTES = 3 << 20
"""… and answers of this size stay in the processor's cache until they are sent. Measured; see docs/performance.md."""
SMALLEST_SHARE_BYTES = 64 << 10
CALM_SECONDS = 0.004
"""After an answer that brought little, while nothing is behind, the next request waits so long: what comes meanwhile
comes together. In sync that halves the work, and is far below what a reader notices."""
CALM_BYTES = 64 << 10


class Part(NamedTuple):
    """What an answer has for one partition: asked for from `offset` on.

    `silent_ms` is when the request was sent whose answer said last that there is nothing new (-1: none did).
    """

    copier: Copier
    fetched: fetch.FetchedPartition
    offset: int
    silent_ms: int


class Fetched(NamedTuple):
    """A whole answer: its bytes, when it was asked for, and how long a quota holds the source's broker back."""

    answer: memoryview
    asked_ms: int
    throttle_ms: int
    parts: Sequence[Part]


class Fetching:
    """What is wished for and what is under way; used by one pipeline."""

    def __init__(
        self, network: Network, links: Links, copiers: Mapping[TopicPartition, Copier], buffer_bytes: int
    ) -> None:
        """`copiers` are the pipeline's own, as they come and go; an answer is to fit into `buffer_bytes`."""
        self.asked_at: float | None = None
        """Since when an answer is waited for; None if none is."""
        self._network = network
        self._links = links
        self._copiers = copiers
        self._buffer_bytes = self._max_bytes = buffer_bytes
        self._session = FetchSession()
        self._version = fetch.BY_ID
        self._correlation_id = 0
        self._fetched_as: dict[tuple[bytes, int], Copier] = {}
        self._touched: dict[Copier, None] = {}
        self._behind: set[Copier] = set()
        self._sated: set[Copier] = set()
        self._share_bytes = buffer_bytes
        self._largest_batch = SMALLEST_SHARE_BYTES
        self._gathering = Gathering(GATHER_SECONDS)
        self._calm_until = 0.0
        self._is_calm = False
        self._is_little = False
        self._held: frozenset[TopicName] = frozenset()
        self._slow: Mapping[TopicName, int] = {}

    # ── wishes ────────────────────────────────────────────────────────────────────────────────────────────────

    def touch(self, copier: Copier) -> None:
        """What this copier wishes for may have changed."""
        self._touched[copier] = None

    def touch_sated(self, copier: Copier) -> None:
        """The same, for one that keeps less now."""
        if copier in self._sated:
            self._touched[copier] = None

    def hold(self, held: frozenset[TopicName], slow: Mapping[TopicName, int]) -> None:
        """Nothing is wanted of topics that are held; of slow ones no more bytes of a partition at a time than this."""
        if (held, slow) == (self._held, self._slow):
            return
        changed = held ^ self._held | {topic for topic, _ in slow.items() ^ self._slow.items()}
        self._held, self._slow = held, slow
        self._touched.update((copier, None) for copier in self._copiers.values() if copier.partition.topic in changed)

    @property
    def is_restrained(self) -> bool:
        """Whether topics are held or slow."""
        return bool(self._held or self._slow)

    def forget_wish(self, copier: Copier) -> None:
        """Nothing is wanted for this copier, or under the name that its topic had so far."""
        topic = self._topic_key(copier)
        if topic is not None:
            self._session.forget(topic, copier.partition.partition)
            self._fetched_as.pop((topic, copier.partition.partition), None)

    def forget(self, copier: Copier) -> None:
        """The copier is given up."""
        self.forget_wish(copier)
        self._touched.pop(copier, None)
        self._behind.discard(copier)
        self._sated.discard(copier)

    def on_copiers_changed(self) -> None:
        """Some came or went: until the source has told the ends of new ones, they count as behind."""
        new = (copier for copier in self._copiers.values() if copier.source_end < 0)
        self._behind.update(copier for copier in new if copier.phase is not Phase.STOPPED)
        self._set_share()

    def lost(self) -> None:
        """The link is gone, and the session with it."""
        self.asked_at = None
        self._session.reset()

    @property
    def is_behind(self) -> bool:
        """Whether the source is known to have more than was fetched."""
        return bool(self._behind)

    def take_wait_seconds(self, now: float) -> float:
        """How long to wait for the request that was just put off; infinity where none was."""
        calm = max(0.0, self._calm_until - now) if self._is_calm else math.inf
        self._is_calm = False
        return min(calm, self._gathering.take_wait_seconds(now))

    def _set_share(self) -> None:
        """An equal share of the answer for each partition that has data, in steps of two so that it rarely changes."""
        parts = 1
        while parts < len(self._behind):
            parts *= 2
        share = max(self._max_bytes // parts, self._largest_batch)
        if share > self._share_bytes or share * 2 < self._share_bytes:
            self._share_bytes = share
            self._touch_all()

    def _touch_all(self) -> None:
        self._touched.update(dict.fromkeys(self._copiers.values()))

    def _topic_key(self, copier: Copier) -> bytes | None:
        topic_id = copier.order.source_topic_id
        return None if topic_id is None else fetch.topic_key(self._version, copier.partition.topic, topic_id)

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, *, paused: bool, is_writing: bool) -> None:
        """Asks for what is wished for, unless an answer is still to come or nothing is wanted.

        `is_writing` says that answers of the target are to come, which may bring more wishes.
        """
        now = self._network.steady_seconds()
        if self.asked_at is not None or not self._links.is_reachable(Side.SOURCE):
            return
        if now < self._links.quota_until[Side.SOURCE]:
            return
        self._is_calm = now < self._calm_until
        if self._is_calm:
            return
        if self._touched or not self._session.empty:
            self._link()  # the broker's version decides how topics are named
        self._adopt_wishes(self._touched, paused=paused)
        self._touched.clear()
        if self._session.empty:
            return
        few_want = len(self._sated) * 2 > len(self._behind)
        if not self._gathering.is_over(now, more_expected=few_want and is_writing):
            return
        link, request = self._link(), self._session.request(self._network.wall_ms())
        self._correlation_id, self.asked_at = link.next_correlation_id(), now
        link.send(
            [
                fetch.serialize_fetch(
                    version=self._version,
                    correlation_id=self._correlation_id,
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

    def _adopt_wishes(self, touched: Iterable[Copier], *, paused: bool) -> None:
        for copier in touched:
            topic, index = self._topic_key(copier), copier.partition.partition
            is_held = copier.partition.topic in self._held
            wish = None if paused or is_held or topic is None else copier.fetch_wish()
            if wish is None and not is_held and copier.phase is Phase.COPYING:
                self._sated.add(copier)
            else:
                self._sated.discard(copier)
            if copier.phase is Phase.STOPPED:
                self._behind.discard(copier)  # nothing is waited for; what is fetched after an answer tells anew
            if topic is None:
                continue
            if wish is None:
                self._session.forget(topic, index)
                continue
            self._fetched_as[topic, index] = copier
            epoch = copier.order.source_epoch
            share = min(self._share_bytes, self._slow.get(copier.partition.topic, self._share_bytes))
            self._session.wish(topic, fetch.Wish(index, epoch, wish[0], wish[1], share))

    def _link(self) -> Link:
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
        if version != self._version:
            self._version = version
            self._session = FetchSession()
            self._fetched_as.clear()
            self._touch_all()

    # ── answers ───────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, buffer: bytearray) -> Fetched:
        """Waits for the answer; parts that nobody waits for any more are left out."""
        assert self.asked_at is not None, "an answer is read only while a request is under way"
        answer = self._link().receive(buffer)
        try:
            fetched = fetch.parse_fetch(answer, self._version)
        except ValueError as error:
            raise self._links.garbled(Side.SOURCE, str(error)) from error
        if fetched.correlation_id != self._correlation_id:
            raise self._links.garbled(Side.SOURCE, "a Fetch answer is not that of the request")
        self.asked_at = None
        self._session.on_answer(fetched)
        parts = []
        for part in fetched.partitions:
            place = part.topic, part.partition
            copier = self._fetched_as.get(place)
            if copier is None:
                self._session.miss(*place)
            else:
                silent_ms = self._session.silent_ms(*place, before_last=True)
                parts.append(Part(copier, part, self._session.asked(*place), silent_ms))
        self._is_little = len(answer) < CALM_BYTES and bool(parts)
        return Fetched(answer, self._session.asked_ms(), fetched.throttle_ms, parts)

    def on_walked(self, part: Part, *, is_heard: bool) -> None:
        """The copier has its part, and has taken up what it tells of the source's end, or not."""
        copier, fetched = part.copier, part.fetched
        (self._session.hear if is_heard else self._session.miss)(fetched.topic, fetched.partition)
        self._largest_batch = max(self._largest_batch, copier.frontier.largest_bytes)
        if copier.fetch_offset < copier.source_end:
            self._behind.add(copier)
        else:
            self._behind.discard(copier)

    def on_all_walked(self) -> None:
        """Shares follow from what was in the answer, and when the next one is asked for."""
        self._set_share()
        if self._is_little and not self._behind:
            self._calm_until = self._network.steady_seconds() + CALM_SECONDS

    def silent_ms(self, copier: Copier) -> int:
        """When the last request was sent whose answer left this partition out, as nothing was written; or -1."""
        topic = self._topic_key(copier)
        return UNKNOWN_TIME_MS if topic is None else self._session.silent_ms(topic, copier.partition.partition)
