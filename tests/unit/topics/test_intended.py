"""What a topic is to become is taken from who knows it, and never read off a topic under hold."""

from __future__ import annotations

import pytest

from kmigrate.topics.hold import LONG_MAX, SINGLE_LIMIT, TimestampLimits, hold_settings, wears_hold
from kmigrate.topics.intended import Intended, Origin, intended_by_source, intended_for_existing
from kmigrate.wire.config_calls import Setting


def own(**values: str) -> dict[str, Setting]:
    return {key.replace("_", "."): Setting(value, True) for key, value in values.items()}


def held(limits: TimestampLimits = TimestampLimits.SPLIT) -> dict[str, Setting]:
    settings = hold_settings(limits, source_max_bytes=None, broker_max_bytes=None)
    return {key: Setting(value, True) for key, value in settings.items()}


DEFAULT = {"retention.ms": Setting("604800000", False)}
SOURCES = DEFAULT | own(cleanup_policy="compact", segment_ms="5", flush_ms="7")
INTENDED_BY_SOURCE = Intended(
    origin=Origin.SOURCE, settings={"cleanup.policy": "compact", "segment.ms": "5", "flush.ms": "7"}
)
BY_HAND = own(retention_ms="99", segment_ms="5")
INTENDED_BY_HAND = Intended(origin=Origin.TARGET, settings={"retention.ms": "99"})
UNREAD_SOURCE = Intended(origin=Origin.SOURCE, settings=None)
UNREAD_TARGET = Intended(origin=Origin.TARGET, settings=None)
LOST = Intended(origin=Origin.LOST, settings=None)


def test_a_topic_to_be_created_becomes_what_the_sources_has_of_its_own() -> None:
    assert intended_by_source(None, SOURCES) == INTENDED_BY_SOURCE
    assert intended_by_source(INTENDED_BY_SOURCE, DEFAULT) == Intended(origin=Origin.SOURCE, settings={})
    assert intended_by_source(LOST, None) == UNREAD_SOURCE


def test_a_topic_that_was_made_by_hand_keeps_what_it_had_even_if_it_is_created_anew() -> None:
    assert intended_by_source(INTENDED_BY_HAND, SOURCES) == INTENDED_BY_HAND


CASES = [
    # recorded, on the target, on the source, untouched, expected
    ("made by hand", None, BY_HAND, SOURCES, True, INTENDED_BY_HAND),
    (
        "made by hand, seen again after it was altered for the copy",
        INTENDED_BY_HAND,
        DEFAULT,
        SOURCES,
        True,
        INTENDED_BY_HAND,
    ),
    ("made by hand, seen again after it was copied into", INTENDED_BY_HAND, held(), SOURCES, False, INTENDED_BY_HAND),
    ("made by hand between our decision and our request", INTENDED_BY_SOURCE, BY_HAND, SOURCES, True, INTENDED_BY_HAND),
    ("made by hand, with settings that nobody may read", None, None, SOURCES, True, UNREAD_TARGET),
    ("the same, once they may be read", UNREAD_TARGET, BY_HAND, SOURCES, True, INTENDED_BY_HAND),
    ("the same, but too late", UNREAD_TARGET, BY_HAND, SOURCES, False, UNREAD_TARGET),
    ("ours, its request was never answered", INTENDED_BY_SOURCE, held(), DEFAULT, True, INTENDED_BY_SOURCE),
    ("ours, and somebody changed the hold", INTENDED_BY_SOURCE, BY_HAND, DEFAULT, False, INTENDED_BY_SOURCE),
    ("ours, and the target does not tell", INTENDED_BY_SOURCE, None, DEFAULT, True, INTENDED_BY_SOURCE),
    ("ours, and now the source tells", UNREAD_SOURCE, held(), SOURCES, False, INTENDED_BY_SOURCE),
    ("ours, and the source still does not tell", UNREAD_SOURCE, held(), None, False, UNREAD_SOURCE),
    ("ours by its look, everything else lost", None, held(), SOURCES, False, INTENDED_BY_SOURCE),
    ("ours by its look, lost before anything was copied", None, held(), SOURCES, True, INTENDED_BY_SOURCE),
    ("ours by its look, and the source is gone", None, held(), None, False, UNREAD_SOURCE),
    ("copied into before, and nothing tells by whom it was made", None, BY_HAND, SOURCES, False, LOST),
    ("the same, and the target does not tell either", None, None, SOURCES, False, LOST),
    ("the same, seen again", LOST, BY_HAND, SOURCES, False, LOST),
    ("the same, made anew by hand", LOST, BY_HAND, SOURCES, True, INTENDED_BY_HAND),
]


@pytest.mark.parametrize(
    ("recorded", "target", "source", "untouched", "expected"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_a_topic_that_the_target_has_already(
    recorded: Intended | None,
    target: dict[str, Setting] | None,
    source: dict[str, Setting] | None,
    untouched: bool,
    expected: Intended,
) -> None:
    assert intended_for_existing(recorded, target, source, untouched=untouched) == expected


@pytest.mark.parametrize("limits", list(TimestampLimits))
def test_the_whole_hold_is_known_by_its_look(limits: TimestampLimits) -> None:
    whole = held(limits)
    assert wears_hold(whole)
    assert wears_hold(whole | own(max_message_bytes="9000000", segment_ms="5"))
    assert wears_hold(whole | {SINGLE_LIMIT: Setting(str(LONG_MAX), limits is TimestampLimits.SINGLE)})
    for key, setting in whole.items():
        assert not wears_hold({name: each for name, each in whole.items() if name != key}), key
        assert not wears_hold(whole | {key: setting._replace(is_override=False)}), key
        if key != "max.message.bytes":
            assert not wears_hold(whole | {key: setting._replace(value="1")}), key
