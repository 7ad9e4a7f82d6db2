"""A coordinator that cannot replicate cannot renew a lease; that must not look like another owner.

On 4.x it holds heartbeats back behind a commit that waits for a frozen follower, and refuses every SyncGroup after
five seconds, each time with one more generation.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.harness import Migration, Witness, wait_until
from tests.fault.load import Load
from tests.fault.probe import find_coordinator
from tests.kafka_tools import create_topic

pytestmark = pytest.mark.broker

PARTITIONS = 4
PATIENT = {"broker.session.timeout.ms": "120000", "replica.lag.time.max.ms": "120000"}
"""A frozen follower stays in the in-sync replicas for longer than any test freezes it."""


@cells(long=4, sample=1)
def test_a_coordinator_with_a_frozen_follower_ends_no_run(
    cell: Cell,
    start_cluster: Callable[..., EmbeddedCluster],
    source_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
) -> None:
    version = TARGET_VERSION if not cell.whole_row else cell.pick([TARGET_VERSION, SOURCE_VERSION])
    target = start_cluster(version, brokers=2, properties=PATIENT)
    topic = create_topic(source_cluster.bootstrap, partitions=PARTITIONS)
    copy = migration(source_cluster, target, [topic], name=topic, spec={"replicationFactor": 2})
    seconds = cell.chance.uniform(22, 50) if cell.whole_row else 26.0
    with Load(source_cluster.bootstrap, [topic], partitions=PARTITIONS) as load:
        copy.start()
        copy.wait_for_growth()
        following = 3 - find_coordinator(target, f"kmigrate-{topic}")
        target.freeze(following)
        thaw_at = time.monotonic() + seconds
        wait_until("it waits for the target", lambda: copy.status()["state"] == "WAITING", evidence=copy.evidence)
        while time.monotonic() < thaw_at:
            assert copy.exit_code is None, copy.evidence()
            time.sleep(0.5)
        target.thaw(following)
        load.wait_for(2000)
        copy.wait_for_growth()
        acknowledged = load.stop()
    copy.wait_in_sync()
    cell.note("frozen_seconds", round(seconds, 1))
    Witness(source_cluster, target).compare(acknowledged, copy.evidence)
