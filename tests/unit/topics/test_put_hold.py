"""A topic that was there before is put under hold: what it has that the hold wants otherwise, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import Altered
from kmigrate.topics.hold import LONG_MAX
from kmigrate.topics.intended import Origin, intended_as_found
from kmigrate.topics.put_hold import PutHold, put_hold
from kmigrate.topics.restore import RestoreHold, restore_hold
from kmigrate.wire.config_calls import Setting
from tests.unit.topics.settings_cluster import BOTH_DEFAULTS, DEFAULTS, OLD_DEFAULTS, SettingsCluster

T = TopicName("orders")
COMPACTED = {"cleanup.policy": "compact", "retention.ms": "5", "segment.ms": "7"}
FOR_EVER = str(LONG_MAX)


@pytest.mark.parametrize("defaults", [DEFAULTS, OLD_DEFAULTS, BOTH_DEFAULTS])
def test_a_topic_is_put_under_hold_and_becomes_again_what_it_was(defaults: Mapping[str, str]) -> None:
    cluster = SettingsCluster({T: COMPACTED}, defaults=defaults)
    for _ in range(2):
        assert isinstance(put_hold(cluster.client, PutHold(topic=T, source_max_bytes=None)), Altered)
    in_force = defaults | cluster.topics[T]
    assert (in_force["cleanup.policy"], in_force["retention.ms"], in_force["segment.ms"]) == ("delete", "-1", "7")
    assert in_force.get("message.timestamp.after.max.ms", FOR_EVER) == FOR_EVER
    assert len(cluster.alterations) == 1

    own = {key: Setting(value, True) for key, value in COMPACTED.items()}
    intended = intended_as_found(own)
    assert intended.origin is Origin.TARGET
    assert intended.settings == {"cleanup.policy": "compact", "retention.ms": "5"}
    assert isinstance(restore_hold(cluster.client, RestoreHold(topic=T, settings=intended.settings)), Altered)
    assert cluster.topics[T] == COMPACTED


@pytest.mark.parametrize(
    ("own", "wanted", "expected"),
    [("500", None, "1048588"), ("500", 2_000_000, "2000000"), ("3000000", 2_000_000, "3000000")],
)
def test_the_limit_of_a_batch_is_never_lowered(own: str, wanted: int | None, expected: str) -> None:
    cluster = SettingsCluster({T: {"max.message.bytes": own}})
    put_hold(cluster.client, PutHold(topic=T, source_max_bytes=wanted))
    assert cluster.topics[T]["max.message.bytes"] == expected
