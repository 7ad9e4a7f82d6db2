"""A service that wrote nothing, little or much to the target goes back: all is on the source, and groups are exact."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.fault.cells import Cell, cells
from tests.fault.cutover_matrix import Course, places
from tests.fault.harness import LIVENESS_SECONDS, Migration, closing_all, log_ends, wait_until
from tests.kafka_tools import new_topic_name, read_all
from tests.scenario.leading import Lead, Operator, Service

pytestmark = pytest.mark.broker

STORIES = tuple(dict.fromkeys(place.story for place in places() if place.course is Course.BACK))
RECORDS = [("start-writers", 0), ("start-writers", 1), ("watch", 0), ("watch", 1), ("watch", 100_000)]
"""At which step the service goes back, and what its applications have written to the target until then."""
CELLS = [(story, *each) for each in RECORDS for story in STORIES]


@cells(long=len(CELLS), sample=1)
def test_everything_is_on_the_source_again(cell: Cell, tmp_path: Path, service: Service) -> None:
    story, step, count = cell.pick(CELLS)
    fault = f"rollback after {count:,} records on the target"
    cell.note("cutover", [{"scheme": str(story), "course": Course.BACK.value, "step": step, "fault": fault}])
    spec = {**story.spec(), "groups": {"include": [service.group]}, "cutover": {"stillSeconds": 3}}
    migration = Migration(
        tmp_path, service.source, service.target, [service.topic], name=new_topic_name("rolled"), spec=spec
    )
    with closing_all([migration]):
        migration.start()
        migration.wait_for_state("IN_SYNC")
        operator = Operator(Lead(migration), service)
        operator.attests = True  # nobody writes to the target but this test
        operator.go_on(until="start-writers")
        ends = log_ends(service.source, [service.topic])
        service.writer.write(service.target, count)
        operator.go_on(until=step)
        if step == "watch":
            written = len(service.writer.acknowledged)
            wait_until("the group has read it", lambda: len(service.reader.read) == written)
        operator.ask("rollback")
        operator.go_on(until="start-on-source")

        grown = sum(log_ends(service.source, [service.topic]).values()) - sum(ends.values())
        assert grown == count, "what was written to the target is on the source"
        here, there = (read_all(each.bootstrap, service.topic) for each in (service.source, service.target))
        assert here == there
        assert sorted(int(each.value or b"") for each in here) == sorted(service.writer.acknowledged)
        assert committed(service) == read_up_to(service)

        operator.go_on()
        assert operator.lead.status()["outcome"] == "rolled back", operator.lead.evidence()
        before = len(service.writer.acknowledged)
        wait_until("the service writes", lambda: len(service.writer.acknowledged) > before + 100)
        service.judge()
        cell.note("records", len(service.writer.acknowledged))


def committed(service: Service) -> dict[int, int]:
    """What the group has committed on the source, as a client sees it."""
    consumer = Consumer({"bootstrap.servers": service.source.bootstrap, "group.id": service.group})
    try:
        asked = [TopicPartition(service.topic, partition) for partition in range(service.partitions)]
        return {each.partition: each.offset for each in consumer.committed(asked, LIVENESS_SECONDS) if each.offset >= 0}
    finally:
        consumer.close()


def read_up_to(service: Service) -> dict[int, int]:
    """Behind the last record that the group has read in each partition."""
    found: dict[int, int] = {}
    for partition, offset, _ in service.reader.read:
        found[partition] = max(found.get(partition, 0), offset + 1)
    return found
