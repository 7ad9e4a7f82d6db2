"""Which settings of its own a target topic is to have, so that it behaves as the source's does.  (pure)

What the source's topic was given is carried over. What it inherits from its brokers is compared by its value: where a
topic of the target would inherit another one, it is made the topic's own. Everything that does not go as it is gets
its reason.

Where the target does not tell what its topics inherit, only what the source's topic was given is carried: the rest is
compared again once the target tells.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from kmigrate.topics.hold import LONG_MAX, SINGLE_LIMIT, SPLIT_LIMITS
from kmigrate.topics.treatments import RULES, Treatment
from kmigrate.wire.config_calls import Setting

MIN_INSYNC_REPLICAS = "min.insync.replicas"
SEGMENT_BYTES = "segment.bytes"
SMALLEST_SEGMENT_BYTES = 1 << 20
"""Of a topic of 4.0 and later (KIP-1030)."""
_OLD_KEY = "message.format.version"
"""Every broker before 4.0 knows it, none since."""
_BEFORE, _AFTER = SPLIT_LIMITS
_TIMESTAMP_LIMITS = (SINGLE_LIMIT, *SPLIT_LIMITS)

Settings = Mapping[str, Setting]
Defaults = Mapping[str, str | None]
"""What a topic would inherit; None where that is not told. A setting that is left out is not known there."""


class Carriage(enum.Enum):
    """How a setting comes to the target."""

    OWN = "own"
    """The source's topic was given it."""
    MADE_OWN = "made own"
    """The source's topic inherits it, and the target's would inherit another value."""
    ADAPTED = "adapted"
    """The target cannot have this value, or spells it otherwise: it gets the nearest one."""
    LEFT_OUT = "left out"


class Carried(NamedTuple):
    """One setting: its value on the target (of one that is left out: on the source), how it comes there and why."""

    key: str
    value: str
    how: Carriage
    reason: str


def carry_settings(source: Settings, defaults: Defaults | None, replicas: int | None) -> tuple[Carried, ...]:
    """What becomes of a topic's settings, in the order of their names; what needs nothing is not listed.

    `defaults` are what a topic of the target would inherit (None: it does not tell), `replicas` what the topic will
    have there (None: not known).
    """
    found = [*_plain(source, defaults), *_timestamp_limits(source, defaults)]
    return tuple(sorted(_fit(each, defaults, replicas) for each in found))


def own_settings(carried: Iterable[Carried]) -> dict[str, str]:
    """What the target's topic is to have of its own in the end."""
    return {each.key: each.value for each in carried if each.how is not Carriage.LEFT_OUT}


def at_once(settings: Mapping[str, str]) -> dict[str, str]:
    """Those that the topic gets when it is created; the others wait for the end of its hold."""
    return {key: value for key, value in settings.items() if treatment_of(key) is Treatment.AT_ONCE}


def treatment_of(key: str) -> Treatment:
    """When the target's topic gets this setting."""
    return RULES[key].treatment if key in RULES else Treatment.LEFT_OUT


def is_same(key: str, one: str, other: str) -> bool:
    """Whether two values of a setting mean the same."""
    if key == "cleanup.policy":
        return {each.strip() for each in one.split(",")} == {each.strip() for each in other.split(",")}
    try:
        return float(one) == float(other)
    except ValueError:
        return one.strip().lower() == other.strip().lower()


def _plain(source: Settings, defaults: Defaults | None) -> Iterator[Carried]:
    for key, setting in source.items():
        if key in _TIMESTAMP_LIMITS:
            continue
        rule = RULES.get(key)
        if rule is None or rule.treatment is Treatment.LEFT_OUT:
            if setting.is_override:
                why = rule.reason if rule is not None else "kmigrate does not know it: set it by hand if it is needed"
                yield Carried(key, setting.value, Carriage.LEFT_OUT, why)
        elif defaults is not None and key not in defaults:
            if setting.is_override:
                yield Carried(key, setting.value, Carriage.LEFT_OUT, "the target does not know it")
        elif (carried := _carry(key, setting.value, setting.is_override, defaults)) is not None:
            yield carried


def _carry(key: str, value: str, is_override: bool, defaults: Defaults | None) -> Carried | None:
    if is_override:
        return Carried(key, value, Carriage.OWN, "the source's topic has it of its own")
    inherited = None if defaults is None else defaults[key]
    if defaults is None or (inherited is not None and is_same(key, value, inherited)):
        return None
    instead = "it is not told what the target's would inherit"
    if inherited is not None:
        instead = f"the target's would inherit {inherited}"
    reason = f"the source's topic inherits it, {instead}"
    return Carried(key, value, Carriage.MADE_OWN, reason)


def _timestamp_limits(source: Settings, defaults: Defaults | None) -> Iterator[Carried]:
    """The limits as the target spells them: one for each direction since 3.6, one for both before."""
    if defaults is None:
        for key in _TIMESTAMP_LIMITS:
            if key in source and source[key].is_override:
                yield Carried(key, source[key].value, Carriage.OWN, "the source's topic has it of its own")
        return
    limits = {key: limit for key in SPLIT_LIMITS if (limit := _limit(source, key)) is not None}
    if _BEFORE in defaults:
        single = defaults.get(SINGLE_LIMIT)
        if (
            single is not None
            and int(single) != LONG_MAX
            and any(int(each.value) == LONG_MAX for each in limits.values())
        ):
            # of 3.6 to 3.9 an open limit for one direction gives way to the one for both
            yield Carried(SINGLE_LIMIT, str(LONG_MAX), Carriage.MADE_OWN, f"the target's would inherit {single}")
        for key, limit in limits.items():
            inherited = _limit({each: Setting(value, False) for each, value in defaults.items() if value}, key)
            told = {key: None if inherited is None else inherited.value}
            carried = _carry(key, limit.value, limit.is_override, told)
            if carried is not None:
                yield carried if carried.how is Carriage.MADE_OWN or _is_own(source, key) else _respelled(carried)
    elif SINGLE_LIMIT in defaults and limits:
        widest = max(limits.values(), key=lambda each: int(each.value))
        is_override = any(each.is_override for each in limits.values())
        carried = _carry(SINGLE_LIMIT, widest.value, is_override, defaults)
        if carried is not None:
            is_plain = carried.how is Carriage.MADE_OWN or _is_own(source, SINGLE_LIMIT)
            yield carried if is_plain else _respelled(carried)


def _limit(settings: Settings, key: str) -> Setting | None:
    """The limit for one direction: where it is open, the one for both directions counts."""
    split, single = settings.get(key), settings.get(SINGLE_LIMIT)
    if split is None or single is None:
        return split or single
    if int(split.value) == LONG_MAX:
        return Setting(single.value, single.is_override or split.is_override)
    return split


def _is_own(settings: Settings, key: str) -> bool:
    return key in settings and settings[key].is_override


def _respelled(carried: Carried) -> Carried:
    reason = "the source's topic has it of its own, under the name that its release knows"
    return carried._replace(how=Carriage.ADAPTED, reason=reason)


def _fit(carried: Carried, defaults: Defaults | None, replicas: int | None) -> Carried:
    """What the target refuses, or could not work with, becomes the nearest value that it takes."""
    if carried.how is Carriage.LEFT_OUT:
        return carried
    if carried.key == MIN_INSYNC_REPLICAS and replicas is not None and int(carried.value) > replicas:
        reason = f"the source has {carried.value}, more than the {replicas} replicas of the topic: no write would do"
        return Carried(carried.key, str(replicas), Carriage.ADAPTED, reason)
    if (
        carried.key == SEGMENT_BYTES
        and defaults is not None
        and _OLD_KEY not in defaults
        and int(carried.value) < SMALLEST_SEGMENT_BYTES
    ):
        reason = f"the source has {carried.value}, and since Kafka 4.0 no topic may have less than 1 MB"
        return Carried(carried.key, str(SMALLEST_SEGMENT_BYTES), Carriage.ADAPTED, reason)
    return carried
