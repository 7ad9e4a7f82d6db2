"""The copier dies at one exact moment of one exchange with the target; what it began is then neither lost nor repeated.

Markers, filler and moves of a log start are what no sequence, or only a sequence of their own, guards. A proxy before
the target knows each request and answer, and kills there: so the product needs no hooks. A failpoint that did not come
fails its cell.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from kmigrate.copy.identity import filler_producer_id, producer_id
from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.content.content import Content, Place
from tests.content.judging import assert_copied, read_ends, read_records
from tests.content.transactional import start_writers
from tests.content.trimmed import delete_records
from tests.fault.cells import Cell, cells
from tests.fault.conftest import heal
from tests.fault.harness import Migration, wait_until
from tests.kafka_tools import create_topic, produce
from tests.tcp_proxy import (
    DELETE_RECORDS,
    DESCRIBE_PRODUCERS,
    OFFSET_FOR_LEADER_EPOCH,
    PRODUCE,
    WRITE_TXN_MARKERS,
    Moment,
    Request,
    TcpProxy,
)

pytestmark = pytest.mark.broker

TRIMMED, WHOLE = 0, 1
LOG_START = 1_023
"""Takes ten batches of filler: 512, 256, … 1."""
ROUNDS = 12
"""Each leaves two gaps in both partitions: one a marker, one aborted records and their marker."""


@enum.unique
class Step(enum.Enum):
    """What the copier does to the target: the request, and how many of its kind may go before."""

    FILLER = PRODUCE, 9
    DATA = PRODUCE, 8
    MARKERS = WRITE_TXN_MARKERS, 12
    TRUE_END_BEHIND_MARKERS = OFFSET_FOR_LEADER_EPOCH, 12
    LOG_START_MOVE = DELETE_RECORDS, 1
    STANDING_BEHIND_IT = DESCRIBE_PRODUCERS, 1

    @property
    def api_key(self) -> int:
        return self.value[0]

    @property
    def times(self) -> int:
        """How often it comes at least."""
        return self.value[1]

    @property
    def only_reads(self) -> bool:
        """Whether it does not matter if the broker gets it."""
        return self in (Step.TRUE_END_BEHIND_MARKERS, Step.STANDING_BEHIND_IT)


class Failpoint(NamedTuple):
    """A moment of an exchange."""

    step: Step
    moment: Moment

    def __str__(self) -> str:
        return f"{self.step.name.lower().replace('_', ' ')}: {self.moment.value}"


FAILPOINTS = [
    Failpoint(step, moment)
    for step in Step
    for moment in Moment
    if not step.only_reads or moment in (Moment.UNHEARD, Moment.ANSWERED)
]
VICTIMS = ("worker", "owner and worker")


class Struck(NamedTuple):
    """A source, and a target of one broker behind a proxy that forgets every log start when it is killed."""

    source: EmbeddedCluster
    target: EmbeddedCluster
    proxy: TcpProxy


@pytest.fixture(scope="module")
def _struck(request: pytest.FixtureRequest) -> Iterator[Struck]:
    failures = request.session.testsfailed
    properties = {"log.flush.start.offset.checkpoint.interval.ms": "3600000"}
    with TcpProxy() as proxy:
        source = EmbeddedCluster(SOURCE_VERSION)
        target = EmbeddedCluster(TARGET_VERSION, advertised={1: proxy.port}, properties=properties)
        try:
            source.start()
            target.start()
            proxy.forward_to(target.port(1))
            yield Struck(source, target, proxy)
        finally:
            for cluster in (source, target):
                cluster.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def struck(_struck: Struck) -> Struck:
    heal(_struck.target)
    _struck.proxy.clear()
    _struck.proxy.requests.clear()
    return _struck


def make_content(cluster: EmbeddedCluster) -> Content:
    """A partition that starts at `LOG_START` and one that starts at 0, both with a gap every few records."""
    topic = create_topic(cluster.direct_bootstrap, partitions=2)
    produce(cluster.direct_bootstrap, topic, [b"trimmed"] * LOG_START)
    delete_records(cluster, topic, {TRIMMED: LOG_START})
    (writer,) = start_writers(cluster, topic, {"writer": "none"})
    plain: list[Place] = []
    for number in range(2 * ROUNDS):
        writer.begin()
        writer.write((TRIMMED, WHOLE), 2)
        if number % 2:
            writer.commit()
        else:
            writer.abort()
        plain += produce(cluster.direct_bootstrap, topic, [b"plain"])
    return Content(topic, frozenset(plain) | writer.visible)


@cells(long=len(FAILPOINTS) * len(VICTIMS), sample=2)
def test_a_copier_that_dies_in_the_middle_of_a_step_neither_loses_nor_repeats_it(
    cell: Cell, struck: Struck, migration: Callable[..., Migration]
) -> None:
    source, target, proxy = struck
    victim = VICTIMS[cell.number // len(FAILPOINTS)]
    failpoint = cell.pick(FAILPOINTS)
    cell.note("failpoint", f"{failpoint}; dies: {victim}")
    content = make_content(source)
    copy = migration(source, target, [content.topic], name=content.topic)
    strike = proxy.strike(
        failpoint.step.api_key,
        failpoint.moment,
        lambda: copy.kill(owner=victim != "worker"),
        skip=cell.chance.choice([0, cell.chance.randrange(failpoint.step.times)]),
        matching=_matching(failpoint.step, copy, proxy),
    )
    copy.start("--until", "in-sync")
    wait_until("the failpoint is met", lambda: strike.done, evidence=copy.evidence)
    if victim != "worker":
        copy.start("--until", "in-sync")
    if failpoint.moment is Moment.LATE:
        wait_until(
            "the new copier has asked",
            lambda: any(_asks(each, copy) for each in proxy.requests[strike.requests_before :]),
            evidence=copy.evidence,
        )
        strike.deliver()
    assert copy.wait_for_exit() == 0, copy.evidence()
    verdict = assert_copied(source, target, content)
    assert strike.done == 1
    assert verdict.gaps >= 2 * 2 * ROUNDS
    cell.note("exercised", strike.done)


@cells(long=6, sample=1)
def test_filler_that_a_killed_target_shows_again_is_deleted_again(
    cell: Cell, struck: Struck, migration: Callable[..., Migration]
) -> None:
    source, target, proxy = struck
    when = cell.pick(["right after the move", "while the copier runs", "while it is stopped"])
    content = make_content(source)
    copy = migration(source, target, [content.topic], name=content.topic)
    if when == "right after the move":
        killed = proxy.strike(DELETE_RECORDS, Moment.ANSWERED, lambda: target.kill(1))
        copy.start("--until", "in-sync")
        wait_until("the log start was moved", lambda: killed.done, evidence=copy.evidence)
    elif when == "while the copier runs":
        copy.start()
        copy.wait_in_sync()
        target.kill(1)
    else:
        copy.start("--until", "in-sync")
        assert copy.wait_for_exit() == 0, copy.evidence()
        target.kill(1)
    proxy.hold()  # nobody deletes it before it is seen
    target.start_node(1)
    shown = [place for place in read_records(target, content.topic) if place < (TRIMMED, LOG_START)]
    assert len(shown) == LOG_START, "the filler did not come back"
    proxy.release()
    if when == "while the copier runs":
        wait_until(
            "the log starts where the source's does",
            lambda: read_ends(target, content.topic)[TRIMMED].start == LOG_START,
            evidence=copy.evidence,
        )
        copy.wait_for_state("IN_SYNC")
    elif when == "while it is stopped":
        copy.start("--until", "in-sync")
    if when != "while the copier runs":
        assert copy.wait_for_exit() == 0, copy.evidence()
    assert_copied(source, target, content)
    cell.note("killed", when)


def _matching(step: Step, copy: Migration, proxy: TcpProxy) -> Callable[[Request], bool]:
    (topic,) = copy.topics
    data_id = producer_id(copy.source.cluster_id, copy.target.cluster_id, copy.name)
    filler = filler_producer_id(data_id).to_bytes(8, "big")

    def came_before(api_key: int, connection: int | None = None) -> bool:
        return any(
            each.api_key == api_key and topic.encode() in each.body and connection in (None, each.connection)
            for each in list(proxy.requests)
        )

    def matches(request: Request) -> bool:
        if topic.encode() not in request.body:
            return False
        match step:
            case Step.FILLER:
                return filler in request.body
            case Step.DATA:
                return filler not in request.body
            case Step.TRUE_END_BEHIND_MARKERS:
                return came_before(WRITE_TXN_MARKERS, request.connection)
            case Step.STANDING_BEHIND_IT:
                return came_before(DELETE_RECORDS)
            case Step.MARKERS | Step.LOG_START_MOVE:
                return True

    return matches


def _asks(request: Request, copy: Migration) -> bool:
    return request.api_key == DESCRIBE_PRODUCERS and copy.topics[0].encode() in request.body
