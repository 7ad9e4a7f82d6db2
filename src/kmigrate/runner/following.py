"""While it is copied: settings of the source's topics are looked at now and then, and their changes follow.

Some topics are looked at together, away from the owner's loop. What is decided is recorded with the effect that
carries it out, in one step; one that a crash left open is carried out first. Drift on the target is told, and stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.copier import WAITING_FOR_LEASE
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Side, TopicName
from kmigrate.runner.errand import Errand
from kmigrate.state.fence_book import FenceBook
from kmigrate.state.store import EffectEntry, Store
from kmigrate.topics.alter import Altered, AlterOutcome
from kmigrate.topics.carry import Defaults, carry_settings, own_settings
from kmigrate.topics.create import Failed, Later
from kmigrate.topics.describe import BATCH, describe_settings
from kmigrate.topics.follow import FollowSettings, decide_changes, follow_settings, list_drift
from kmigrate.topics.intended import Intended, Origin
from kmigrate.topics.treatments import CARRIED_KEYS

log = logging.getLogger(__name__)

FOLLOW_SETTINGS = "follow-settings"
LOOK_SECONDS = 60.0
"""How long after a whole round, and after a look that failed."""
NEXT_SECONDS = 30.0
"""How long until the next topics of a round."""
LOOKS = 10
"""How many looks a round takes at most, so that it ends within five minutes however many topics there are. A look at a
thousand topics costs this process about half a second, and each cluster ten requests."""
_NAMED = 5

Replicas = Mapping[TopicName, int]


class Looked(NamedTuple):
    """Topics that were looked at, and what of each is not as the copy left it."""

    topics: Sequence[TopicName]
    drift: Mapping[TopicName, tuple[str, ...]]


class SettingsWatch:
    """Follows the settings of topics under hold; used by the owner's thread, its errands by one of their own."""

    def __init__(
        self,
        store: Store,
        source: ClusterClient,
        target: ClusterClient,
        defaults: Defaults | None,
        may_write: Callable[[], bool],
    ) -> None:
        """`defaults` are what topics inherit on the target; `may_write` says whether the lease is granted now."""
        self._store = store
        self._source = source
        self._target = target
        self._defaults = defaults
        self._may_write = may_write
        self._under_way: Errand[Looked] | None = None
        self._left: list[TopicName] = []
        self._next_look: float | None = None
        self._drift: dict[TopicName, tuple[str, ...]] = {}

    @property
    def notices(self) -> tuple[str, ...]:
        """Says which topics drifted on the target."""
        told = [f"{name}: {', '.join(drift)}" for name, drift in sorted(self._drift.items()) if drift]
        if not told:
            return ()
        more = f" and {len(told) - _NAMED} more topics" if len(told) > _NAMED else ""
        return (f"settings were changed on the target, and stay as they are: {'; '.join(told[:_NAMED])}{more}",)

    def step(self, replicas: Replicas, now: float) -> bool:
        """Takes what an errand brought, and begins one when it is time; returns whether something new is to be told.

        `replicas` are those of the topics that are copied, on the target.
        """
        changed = False
        if self._under_way is not None:
            if not self._under_way.done:
                return False
            changed = self._collect(replicas, now)
        if self._next_look is None:
            self._next_look = now + LOOK_SECONDS
        if now >= self._next_look and replicas:
            self._left = self._left or sorted(replicas)
            share = decide_share(len(replicas))
            names, self._left = self._left[:share], self._left[share:]
            wanted = {name: replicas[name] for name in names if name in replicas}
            self._under_way = Errand(lambda: self.look(wanted), "settings")
        return changed

    def _collect(self, replicas: Replicas, now: float) -> bool:
        assert self._under_way is not None, "there is something to collect"
        errand, self._under_way = self._under_way, None
        self._next_look = now + (NEXT_SECONDS if self._left else LOOK_SECONDS)
        try:
            looked = errand.result()
        except ClusterError as error:
            log.info("settings could not be looked at: %s", error)
            return False
        before = dict(self._drift)
        self._drift = {name: drift for name, drift in self._drift.items() if name in replicas}
        self._drift |= {name: looked.drift.get(name, ()) for name in looked.topics}
        return before != self._drift

    def look(self, replicas: Replicas) -> Looked:
        """Looks at these topics, and lets what changed follow; raises ClusterError if a cluster does not answer."""
        for entry in self._store.effects():
            if entry.kind == FOLLOW_SETTINGS and not entry.is_done and entry.topic in replicas:
                self._carry_out(entry)
        recorded = self._store.intended()
        fenced = self._fenced()
        ours = [name for name in replicas if _follows(recorded.get(name)) and name not in fenced]
        theirs = describe_settings(self._source, ours, CARRIED_KEYS)
        for name in ours:
            if name in theirs:
                wanted = own_settings(carry_settings(theirs[name], self._defaults, replicas[name]))
                recorded[name] = self._follow(name, recorded[name], wanted)
        drift = {}
        for name, there in describe_settings(self._target, ours, CARRIED_KEYS).items():
            settings = recorded[name].settings
            if settings is not None:
                drift[name] = tuple(list_drift(there, settings))
        return Looked(tuple(replicas), drift)

    def _fenced(self) -> set[TopicName]:
        """Topics of the source whose settings are not their own now: a fence has altered them for a while."""
        standing = FenceBook(self._store.path.parent).standing()
        return {each.topic for fence in standing if fence.side is Side.SOURCE for each in fence.settings}

    def _follow(self, name: TopicName, before: Intended, wanted: Mapping[str, str]) -> Intended:
        if before.settings == wanted:
            return before
        now = Intended(origin=Origin.SOURCE, settings=dict(wanted))
        changes = decide_changes(before.settings or {}, wanted) if before.settings is not None else {}
        entry = self._store.record_followed(FOLLOW_SETTINGS, name, now, {"changes": changes} if changes else None)
        log.info("topic %s on the source: settings changed; at once: %s", name, ", ".join(changes) or "nothing")
        if entry is not None:
            self._carry_out(entry)
        return now

    def _carry_out(self, entry: EffectEntry) -> None:
        outcome = self._act(entry)
        if isinstance(outcome, Altered):
            self._store.end_effect(entry)
            log.info("%s of topic %s: %s", entry.kind, entry.topic, ", ".join(map(str, outcome.alterations)) or "done")
            return
        log.warning("settings of topic %s on the target: %s", entry.topic, outcome.reason)
        if isinstance(outcome, Failed):
            self._store.end_effect(entry)  # it shows as drift from now on

    def _act(self, entry: EffectEntry) -> AlterOutcome:
        if not self._may_write():
            return Later(WAITING_FOR_LEASE)
        changes = {key: (before, now) for key, (before, now) in entry.payload["changes"].items()}
        return follow_settings(self._target, FollowSettings(topic=entry.topic, changes=changes))


def decide_share(topics: int) -> int:
    """How many topics one look of a round takes.  (pure)"""
    return max(BATCH, -(-topics // LOOKS))


def _follows(recorded: Intended | None) -> bool:
    """Whether the topic is under hold, and the source's settings are what it is to have."""
    return recorded is not None and recorded.origin is Origin.SOURCE
