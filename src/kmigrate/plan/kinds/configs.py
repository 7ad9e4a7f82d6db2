"""Settings of topics as actions.  (pure)"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.plan.surroundings import Decisions
from kmigrate.topics.compare import SettingFate

_VERBS = {
    SettingFate.SET: (Verb.SET, When.NOW),
    SettingFate.AT_END: (Verb.SET, When.END_OF_HOLD),
    SettingFate.PRESENT: (Verb.NOTHING, When.NEVER),
    SettingFate.DIFFERENT: (Verb.KEEP, When.NEVER),
    SettingFate.LEFT_OUT: (Verb.LEAVE_OUT, When.NEVER),
}


def config_actions(decisions: Decisions) -> Iterator[PlannedAction]:
    """One for each setting that the source's topic has of its own, or that would be another one on the target."""
    for name, settings in decisions.settings.items():
        for each in settings:
            verb, when = _VERBS[each.fate]
            yield PlannedAction(
                kind=Kind.CONFIGS,
                name=name,
                action=verb,
                what=f"{each.key}={each.value}",
                reason=each.reason,
                when=when,
            )
