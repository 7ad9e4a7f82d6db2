"""The intended settings: what a target topic is to become when its hold ends.  (pure)

A topic that is created here becomes what the source's topic is (`carry` says how); one that was on the target before,
empty and made by hand, becomes again what it was. Either way only what the topic is to have of its own is recorded:
where that is nothing, the target's defaults count.

Rule: they are recorded before the hold is set, and never read off a topic that may already have been changed for the
copy. What was lost is read from the source again or not known: nothing is guessed.

Reference: org.apache.kafka.common.config.TopicConfig.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from kmigrate.topics.carry import Defaults, carry_settings, own_settings
from kmigrate.topics.hold import HELD_KEYS, wears_hold
from kmigrate.topics.treatments import CARRIED_KEYS
from kmigrate.wire.config_calls import Setting

INTENDED_KEYS = CARRIED_KEYS
"""What the source's topic is asked for."""

Settings = Mapping[str, Setting]


class Origin(enum.Enum):
    """Whose settings a target topic is to have in the end."""

    SOURCE = "source"
    """Those of the source's topic: they can be read again as long as it exists."""
    TARGET = "target"
    """Those that it had before: once lost, nobody can tell them."""
    LOST = "lost"
    """It was copied into before and nothing tells which of the two it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """What a target topic is to have of its own in the end: key → value; None if that could not be read."""

    origin: Origin
    settings: Mapping[str, str] | None


def intended_by_source(
    recorded: Intended | None, source: Settings | None, defaults: Defaults | None = None, replicas: int | None = None
) -> Intended:
    """For a topic that is about to be created. One that was made by hand and is created anew keeps what it had.

    `defaults` are what it would inherit on the target, `replicas` what it will have there; None: not known.
    """
    if recorded is not None and recorded.origin is Origin.TARGET:
        return recorded
    settings = None if source is None else own_settings(carry_settings(source, defaults, replicas))
    return Intended(origin=Origin.SOURCE, settings=settings)


def intended_as_found(found: Settings) -> Intended:
    """For a topic that is to become again just what it is now."""
    return Intended(origin=Origin.TARGET, settings=_own(found, HELD_KEYS))


def intended_for_existing(
    recorded: Intended | None,
    target: Settings | None,
    source: Settings | None,
    *,
    untouched: bool,
    defaults: Defaults | None = None,
) -> Intended:
    """For a topic that the target has already; `untouched` if this migration never copied into it.

    Settings are None where they could not be read. A topic that wears the whole hold was made under it, whatever was
    lost: what it has of its own is the hold, and nobody wants that in the end.
    """
    is_known = recorded is not None and recorded.settings is not None
    if recorded is not None and recorded.origin is Origin.TARGET and (is_known or not untouched):
        return recorded
    wears = target is not None and wears_hold(target)
    if untouched and target is not None and not wears:
        return Intended(origin=Origin.TARGET, settings=_own(target, HELD_KEYS))
    if wears or (recorded is not None and recorded.origin is Origin.SOURCE):
        return recorded if recorded is not None and is_known else intended_by_source(None, source, defaults)
    return recorded or Intended(origin=Origin.TARGET if untouched else Origin.LOST, settings=None)


def _own(settings: Settings, keys: tuple[str, ...]) -> dict[str, str]:
    return {key: settings[key].value for key in keys if key in settings and settings[key].is_override}
