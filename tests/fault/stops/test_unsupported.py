"""What cannot be copied stops its partition where it begins, and nothing else.

One migration meets everything at once; each test looks at its part of it. No client writes such batches: the proxy
makes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from kmigrate.copy.recast import INFLATED_BYTES
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.records.batch import LOG_APPEND_TIME
from tests.fault.harness import Document, Migration, closing_all
from tests.fault.stops.conftest import ProxiedSource
from tests.fault.stops.content import assert_copied, target_end, wait_for_end
from tests.fault.stops.tampering import MAGIC, Change, TamperingProxy, replace, reseal
from tests.fault.stops.telling import BLOCKED, DONE, Told, answer, ask_status, told, wait_for_stops
from tests.fault.stops.topics import fill
from tests.kafka_tools import create_topic, new_topic_name
from tests.simulation.batches import ZSTD, Record, compress, record_bytes

pytestmark = pytest.mark.broker

PLAIN = 10
"""Records before what cannot be copied."""
ODD = 3
"""Records of it, in one batch."""
UNKNOWN_CODEC = 5


def _bomb() -> bytes:
    """Three records, of which the last one is longer than what is unpacked at most; a few kilobytes."""
    values = [b"a", b"b", bytes(INFLATED_BYTES)]
    return compress(ZSTD, b"".join(record_bytes(Record(0, None, value), at, 0) for at, value in enumerate(values)))


class Odd(NamedTuple):
    """What becomes of the last batch on its way, and what the stop says of it."""

    change: Change
    evidence: str


ODDITIES = {
    "newer": Odd(replace(MAGIC, b"\3"), "records in message format v3"),
    "codec": Odd(reseal(LOG_APPEND_TIME | UNKNOWN_CODEC), f"records compressed with codec {UNKNOWN_CODEC}"),
    "bomb": Odd(reseal(LOG_APPEND_TIME | ZSTD, _bomb()), f"compressed bytes hold more than {INFLATED_BYTES} bytes"),
}
"""The codec, and how far records inflate, matters only where a batch cannot be copied as it is."""


class Met(NamedTuple):
    """The migration after its run, and the topics that it met."""

    copy: Migration
    proxy: TamperingProxy
    topics: dict[str, str]
    status: Document

    def told(self, kind: str) -> Told:
        return told(self.status, self.topics[kind])


@pytest.fixture(scope="module")
def met(
    _proxied_source: ProxiedSource, target_cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Met]:
    source, proxy = _proxied_source
    prefix = new_topic_name("unsupported")
    topics = {kind: create_topic(source.direct_bootstrap, f"{prefix}-{kind}") for kind in (*ODDITIES, "plain")}
    proxy.heal()
    for topic in topics.values():
        fill(source, topic, "plain", PLAIN)
        fill(source, topic, f"<{topic}>", ODD)
    for kind, odd in ODDITIES.items():
        proxy.tamper(f"<{topics[kind]}>".encode(), odd.change)
    folder = tmp_path_factory.mktemp("unsupported")
    copy = Migration(folder, source, target_cluster, list(topics.values()), name=prefix)
    with closing_all([copy]):
        copy.start("--until", "in-sync")
        assert copy.wait_for_exit() == BLOCKED, copy.evidence()
        yield Met(copy, proxy, topics, ask_status(copy))
    proxy.heal()
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ODDITIES)
def test_what_cannot_be_copied_is_named_where_it_begins(met: Met, kind: str) -> None:
    stop, topic = met.told(kind), met.topics[kind]
    assert (stop.kind, stop.offset) == ("UNSUPPORTED", PLAIN), stop
    assert ODDITIES[kind].evidence in stop.evidence
    assert stop.choices == ("resume", "ignore")
    assert target_end(met.copy, topic) == PLAIN
    assert_copied(met.copy, topic, end=PLAIN)


def test_what_can_be_copied_is_not_held_back_by_it(met: Met) -> None:
    topic = met.topics["plain"]
    assert met.told("plain").state == "IN_SYNC"
    assert target_end(met.copy, topic) == PLAIN + ODD
    assert_copied(met.copy, topic)


def test_it_is_copied_once_it_can_be(met: Met) -> None:
    copy, topics = met.copy, [met.topics[kind] for kind in ODDITIES]
    copy.start()
    wait_for_stops(copy, [(topic, 0) for topic in topics])
    met.proxy.heal()
    for topic in topics:
        assert answer(copy, "-t", topic).returncode == DONE
        wait_for_end(copy, topic, PLAIN + ODD)
        assert_copied(copy, topic)
    copy.stop()
