"""Transactional content really holds transactions of every kind."""

from __future__ import annotations

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.content.judging import read_ends, read_records
from tests.content.transactional import LARGE_TRANSACTION, open_transaction, transactional
from tests.kafka_tools import dump_log

pytestmark = pytest.mark.broker


def test_decided_transactions_of_every_kind_are_there(source_cluster: EmbeddedCluster) -> None:
    content = transactional(source_cluster)
    assert set(read_records(source_cluster, content.topic)) == content.visible
    everything = set(read_records(source_cluster, content.topic, isolation_level="read_uncommitted"))
    aborted = everything - content.visible
    assert len([place for place in aborted if place[0] == 2]) > LARGE_TRANSACTION

    for partition in (0, 1, 2):
        batches = dump_log(SOURCE_VERSION, source_cluster.data_dir(1), content.topic, partition, deep=True)
        markers = [record for batch in batches if batch["isControl"] for record in batch["records"]]
        assert {marker["endTxnMarker"] for marker in markers} == {"COMMIT", "ABORT"}
        data = [batch for batch in batches if not batch["isControl"]]
        assert {(partition, batch["baseOffset"]) in content.visible for batch in data} == {True, False}
        if partition == 0:
            assert {batch["isTransactional"] for batch in data} == {True, False}
            assert {batch["compresscodec"] for batch in data} == {"none", "lz4", "zstd"}
            assert _most_open_at_once(batches) >= 2
            assert _longest_open(batches) > 8


def test_an_open_transaction_holds_back_what_lies_behind_it_until_it_is_decided(
    source_cluster: EmbeddedCluster,
) -> None:
    for decide in ("commit", "abort"):
        handle = open_transaction(source_cluster)
        topic = handle.content.topic
        assert set(read_records(source_cluster, topic)) == handle.content.visible
        ends = read_ends(source_cluster, topic)
        assert all(ends[partition].stable < ends[partition].end for partition in (0, 1))

        decided = handle.commit() if decide == "commit" else handle.abort()
        assert set(read_records(source_cluster, topic)) == decided.visible
        assert decided.visible > handle.content.visible
        ends = read_ends(source_cluster, topic)
        assert all(ends[partition].stable == ends[partition].end for partition in (0, 1))


def _most_open_at_once(batches: list[dict]) -> int:
    return max(len(open_now) for open_now in _open_after_each(batches))


def _longest_open(batches: list[dict]) -> int:
    """For how many batches one transaction was open."""
    counts: dict[int, int] = {}
    longest = 0
    for open_now in _open_after_each(batches):
        counts = {producer: counts.get(producer, 0) + 1 for producer in open_now}
        longest = max([longest, *counts.values()])
    return longest


def _open_after_each(batches: list[dict]) -> list[set[int]]:
    """The producers with an open transaction after each batch."""
    result: list[set[int]] = []
    now: set[int] = set()
    for batch in batches:
        if batch["isTransactional"]:
            now = now - {batch["producerId"]} if batch["isControl"] else now | {batch["producerId"]}
        result.append(now)
    return result
