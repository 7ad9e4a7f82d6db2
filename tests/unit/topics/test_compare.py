"""What the target's topic has is set where it is missing, kept where somebody gave it, and held until the end."""

from __future__ import annotations

import pytest

from kmigrate.topics.carry import Carriage, Carried
from kmigrate.topics.compare import SettingFate, decide_settings, missing_at_once
from kmigrate.topics.hold import TimestampLimits, hold_settings
from kmigrate.wire.config_calls import Setting

HOLD = {
    key: Setting(value, True)
    for key, value in hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None).items()
}
SET, AT_END, PRESENT, DIFFERENT, LEFT_OUT = (
    SettingFate.SET,
    SettingFate.AT_END,
    SettingFate.PRESENT,
    SettingFate.DIFFERENT,
    SettingFate.LEFT_OUT,
)


def fate(key: str, value: str, target: dict[str, Setting] | None, *, by_hand: bool = False) -> SettingFate:
    found = decide_settings([Carried(key, value, Carriage.OWN, "why")], target, by_hand=by_hand)
    assert all(each.reason for each in found)
    (of_key,) = [each for each in found if each.key == key]
    return of_key.fate


@pytest.mark.parametrize(
    ("key", "there", "expected"),
    [
        ("flush.ms", None, SET),
        ("flush.ms", Setting("7", True), PRESENT),
        ("flush.ms", Setting("7", False), SET),  # inherited now, which may change
        ("flush.ms", Setting("9", False), SET),
        ("flush.ms", Setting("9", True), DIFFERENT),
        ("segment.ms", None, AT_END),
        ("segment.ms", Setting("9", False), AT_END),
        ("segment.ms", Setting("9", True), DIFFERENT),
        ("retention.ms", None, AT_END),
        ("retention.ms", Setting("-1", True), AT_END),
        ("retention.ms", Setting("9", True), DIFFERENT),
        ("retention.ms", Setting("7", True), PRESENT),
        ("max.message.bytes", Setting("5000000", True), AT_END),  # raised for a large batch
    ],
)
def test_the_fate_of_a_setting_of_a_topic_made_here(key: str, there: Setting | None, expected: SettingFate) -> None:
    assert fate(key, "7", None if there is None else HOLD | {key: there}) is expected


@pytest.mark.parametrize(
    ("there", "expected"),
    [(Setting("7", False), PRESENT), (Setting("9", False), DIFFERENT), (Setting("9", True), DIFFERENT)],
)
def test_a_topic_made_by_hand_keeps_what_it_has(there: Setting, expected: SettingFate) -> None:
    assert fate("flush.ms", "7", {"flush.ms": there}, by_hand=True) is expected


def test_what_the_target_does_not_tell_is_left_out() -> None:
    assert fate("flush.ms", "7", HOLD) is LEFT_OUT
    left_out = decide_settings([Carried("x", "1", Carriage.LEFT_OUT, "why")], None)
    assert [(each.fate, each.reason) for each in left_out] == [(LEFT_OUT, "why")]


def test_a_hold_that_somebody_changed_is_told() -> None:
    found = decide_settings([], HOLD | {"cleanup.policy": Setting("compact", True)})
    assert [(each.key, each.fate) for each in found] == [("cleanup.policy", DIFFERENT)]
    assert decide_settings([], HOLD) == ()
    restored = {"cleanup.policy": Setting("compact", True), "retention.ms": Setting("5", True)}
    assert decide_settings([], restored) == ()


def test_only_what_can_be_set_now_is_missing() -> None:
    carried = [Carried("flush.ms", "7", Carriage.OWN, ""), Carried("segment.ms", "7", Carriage.OWN, "")]
    assert missing_at_once(decide_settings(carried, None)) == {"flush.ms": "7"}
