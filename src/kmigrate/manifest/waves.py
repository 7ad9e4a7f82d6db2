"""What each wave of a manifest is to be, once what is not said of it is taken from `spec` or from the defaults.  (pure)

Rule: without any scheme there is no wave, as nothing is to be cut over; with one and without `waves` there is one wave
with everything. Which topics and groups there are only the clusters tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from kmigrate.manifest.model import Ending, FenceChoice, History, Manifest, Scheme

EVERYTHING = "all"
"""The name of the wave of a manifest that names none."""

PRODUCERS = "producers"
"""The move of what writes the topics that no application of the manifest writes."""

HISTORIES: Mapping[Scheme, History] = {
    Scheme.PRODUCERS_FIRST: History.STOPPED,
    Scheme.PRODUCERS_LATER: History.ROLLING,
}
"""What comes along where nothing is said of it; with consumers-first everything does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveWish:
    """One wave as it is wanted. `topics` and `groups` are regular expressions; None is everything that is selected.

    No `groups`: those that read topics of this wave only. `history` counts where producers move first or later,
    `ending` with consumers-first.
    """

    name: str
    scheme: Scheme
    topics: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    history: History = History.NONE
    ending: Ending = Ending.CLEAN
    fence: FenceChoice = FenceChoice.NONE
    has_way_back: bool = True

    def wants_topic(self, name: str) -> bool:
        """Whether it names this topic."""
        return self.topics is None or matches(self.topics, name)

    def wants_group(self, name: str) -> bool:
        """Whether it names this group."""
        return self.groups is None or matches(self.groups, name)


def wishes_of(manifest: Manifest) -> tuple[WaveWish, ...]:
    """The waves in the manifest's order; none if it has no scheme."""
    if not manifest.waves:
        if manifest.scheme is None:
            return ()
        return (
            WaveWish(
                name=EVERYTHING,
                scheme=manifest.scheme,
                history=_history(manifest.scheme, None, manifest.history),
                ending=_ending(manifest.scheme, None, manifest.ending),
                fence=manifest.fence or FenceChoice.NONE,
                has_way_back=manifest.way_back is not False,
            ),
        )
    found = []
    for wave in manifest.waves:
        scheme = wave.scheme or manifest.scheme
        if scheme is None:  # the loader refuses it beside one that has a scheme
            continue
        found.append(
            WaveWish(
                name=wave.name,
                scheme=scheme,
                topics=wave.topics,
                groups=wave.groups,
                history=_history(scheme, wave.history, manifest.history),
                ending=_ending(scheme, wave.ending, manifest.ending),
                fence=wave.fence or manifest.fence or FenceChoice.NONE,
                has_way_back=(manifest.way_back is not False) if wave.way_back is None else wave.way_back,
            )
        )
    return tuple(found)


def _history(scheme: Scheme, own: History | None, general: History | None) -> History:
    if scheme not in HISTORIES:
        return History.NONE
    return own or general or HISTORIES[scheme]


def _ending(scheme: Scheme, own: Ending | None, general: Ending | None) -> Ending:
    if scheme is not Scheme.CONSUMERS_FIRST:
        return Ending.CLEAN
    return own or general or Ending.CLEAN


def matches(expressions: Iterable[str], name: str) -> bool:
    """Whether one of some regular expressions is the whole name."""
    return any(_compiled(each).fullmatch(name) for each in expressions)


@lru_cache(maxsize=10_000)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)
