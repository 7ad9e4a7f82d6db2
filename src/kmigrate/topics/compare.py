"""How the settings of a target topic stand to what it is to have of its own.  (pure)

A setting that somebody else gave the target's topic stays: that is drift, and it is told. What the hold sets now is
neither right nor wrong: it ends when the topic is restored.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kmigrate.topics.carry import Carriage, Carried, is_same, treatment_of
from kmigrate.topics.hold import HELD_KEYS, LONG_MAX, SINGLE_LIMIT, SPLIT_LIMITS, TimestampLimits, hold_settings
from kmigrate.topics.treatments import Treatment
from kmigrate.wire.config_calls import Setting

MAX_MESSAGE_BYTES = "max.message.bytes"

Settings = Mapping[str, Setting]


class SettingFate(enum.Enum):
    """What becomes of a setting of the target's topic."""

    SET = "set"
    AT_END = "at the end"
    """When the topic is restored."""
    PRESENT = "present"
    DIFFERENT = "different"
    """Somebody gave the target's topic another value: it stays."""
    LEFT_OUT = "left out"


class SettingDecision(NamedTuple):
    """One setting, its value, its fate, how the value came to be, and why."""

    key: str
    value: str
    fate: SettingFate
    how: Carriage
    reason: str


def decide_settings(
    carried: Iterable[Carried], target: Settings | None, *, by_hand: bool = False
) -> tuple[SettingDecision, ...]:
    """The fate of every setting that matters, and drift of the hold; `target` None: the topic is not there yet.

    `by_hand`: the target's topic was there before, and keeps what it has.
    """
    decisions = [_decide(each, target, by_hand=by_hand) for each in carried]
    if target is not None and not by_hand:
        wanted = {each.key for each in decisions}
        decisions += [each for each in hold_drift(target) if each.key not in wanted]
    return tuple(sorted(decisions, key=lambda each: each.key))


def missing_at_once(decisions: Iterable[SettingDecision]) -> dict[str, str]:
    """What can be set now."""
    return {each.key: each.value for each in decisions if each.fate is SettingFate.SET}


def hold_drift(target: Settings) -> list[SettingDecision]:
    """Settings of the hold that are the topic's own with another value, while others show that it is held."""
    held = {key: each.value for key, each in target.items() if key in HELD_KEYS and each.is_override}
    if not held or not any(_is_held(key, value) for key, value in held.items() if key.startswith("retention.")):
        return []
    return [
        SettingDecision(
            key, value, SettingFate.DIFFERENT, Carriage.OWN, f"the hold set {_held_value(key)}; {value} stays"
        )
        for key, value in held.items()
        if not _is_held(key, value)
    ]


def _decide(carried: Carried, target: Settings | None, *, by_hand: bool) -> SettingDecision:
    key, value, how, reason = carried
    if how is Carriage.LEFT_OUT:
        return SettingDecision(key, value, SettingFate.LEFT_OUT, how, reason)
    at_once = treatment_of(key) is Treatment.AT_ONCE
    if target is None:
        return SettingDecision(key, value, SettingFate.SET if at_once else SettingFate.AT_END, how, reason)
    there = target.get(key)
    if there is None:
        return SettingDecision(key, value, SettingFate.LEFT_OUT, how, "the target does not tell it")
    if is_same(key, there.value, value) and (there.is_override or by_hand):
        return SettingDecision(key, value, SettingFate.PRESENT, how, "the target has it")
    if by_hand:
        why = f"the target's topic was made by hand: {there.value} stays"
        return SettingDecision(key, value, SettingFate.DIFFERENT, how, why)
    if key in HELD_KEYS and (_is_held(key, there.value) or not there.is_override):
        return SettingDecision(key, value, SettingFate.AT_END, how, reason)
    if there.is_override:
        why = f"somebody set {there.value} on the target, which stays"
        return SettingDecision(key, value, SettingFate.DIFFERENT, how, why)
    return SettingDecision(key, value, SettingFate.SET if at_once else SettingFate.AT_END, how, reason)


_HOLD = hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None) | {
    SINGLE_LIMIT: str(LONG_MAX)
}


def _is_held(key: str, value: str) -> bool:
    """Whether the hold may have set this value."""
    if key == MAX_MESSAGE_BYTES:  # the source's limit, the broker's or a raised one
        return int(value) >= int(_HOLD[MAX_MESSAGE_BYTES])
    return is_same(key, value, _HOLD[key])


def _held_value(key: str) -> str:
    if key in (SINGLE_LIMIT, *SPLIT_LIMITS):
        return "no limit"
    return _HOLD[key]
