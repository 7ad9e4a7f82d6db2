"""A change on the source comes along where nobody else touched the target's topic; what somebody did there is told."""

from __future__ import annotations

import pytest

from kmigrate.kafka_types import TopicName
from kmigrate.topics.alter import Altered
from kmigrate.topics.follow import FollowSettings, decide_changes, follow_settings, list_drift
from kmigrate.topics.hold import TimestampLimits, hold_settings
from kmigrate.wire.config_calls import Alteration, Setting
from tests.unit.topics.settings_cluster import DEFAULTS, SettingsCluster

T = TopicName("orders")
HOLD = hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None)
KNOWN = DEFAULTS | {"flush.ms": "9223372036854775807", "flush.messages": "9223372036854775807"}


def test_only_what_is_not_held_changes_at_once() -> None:
    before = {"flush.ms": "1", "flush.messages": "5", "retention.ms": "1", "segment.ms": "1"}
    now = {"flush.ms": "2", "preallocate": "true", "retention.ms": "2", "segment.ms": "2"}
    assert decide_changes(before, now) == {
        "flush.messages": ("5", None),
        "flush.ms": ("1", "2"),
        "preallocate": (None, "true"),
    }


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"flush.ms": "1"}, {"flush.ms": "2"}),
        ({"flush.ms": "2"}, {}),  # carried out before
        ({"flush.ms": "3"}, {}),  # somebody's own
        ({}, {}),  # somebody took it away
    ],
)
def test_what_somebody_set_on_the_target_stays(own: dict[str, str], expected: dict[str, str]) -> None:
    target = SettingsCluster({T: HOLD | own}, defaults=KNOWN)
    outcome = follow_settings(target.client, FollowSettings(topic=T, changes={"flush.ms": ("1", "2")}))
    assert isinstance(outcome, Altered)
    assert outcome.alterations == tuple(Alteration(*each) for each in expected.items())
    assert target.topics[T] == HOLD | own | expected


def test_what_the_source_gave_up_is_given_up() -> None:
    target = SettingsCluster({T: HOLD | {"flush.ms": "1"}}, defaults=KNOWN)
    follow_settings(target.client, FollowSettings(topic=T, changes={"flush.ms": ("1", None)}))
    assert target.topics[T] == HOLD


def found(own: dict[str, str]) -> dict[str, Setting]:
    return {key: Setting(own.get(key, value), key in own) for key, value in KNOWN.items()}


@pytest.mark.parametrize(
    ("own", "intended", "expected"),
    [
        ({**HOLD, "flush.ms": "1"}, {"flush.ms": "1", "retention.ms": "5"}, []),
        ({**HOLD, "flush.ms": "2"}, {"flush.ms": "1"}, ["flush.ms is 2, it was given 1"]),
        (HOLD, {"flush.ms": "1"}, [f"flush.ms is {2**63 - 1} (inherited), it was given 1"]),
        ({**HOLD, "flush.ms": "2"}, {}, ["flush.ms is 2, it was given none"]),
        ({**HOLD, "segment.ms": "2"}, {"segment.ms": "1"}, ["segment.ms is 2, it was given none"]),
        ({**HOLD, "cleanup.policy": "compact"}, {}, ["cleanup.policy is compact instead of the hold's"]),
        ({**HOLD, "max.message.bytes": "9000000"}, {}, []),  # raised for a large batch
    ],
)
def test_drift_is_what_is_not_as_the_copy_left_it(
    own: dict[str, str], intended: dict[str, str], expected: list[str]
) -> None:
    assert list(list_drift(found(own), intended)) == expected
