"""Effects on who may write to the target's topics: rights that `apply` prepared take effect, and are taken away again.

Rule: as in `carrying.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import Refused
from kmigrate.runner.cutover.carrying import Carried, Handler, Waits
from kmigrate.runner.granting import GrantOutcome
from kmigrate.runner.promoting import demote_acls, promote_acls
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.state.store import Store
from kmigrate.topics.create import Failed, Later


@dataclass(frozen=True, slots=True, kw_only=True)
class RightsEffects:
    """The handlers; `client` opens a client of the target, which each handler closes."""

    store: Store
    client: Callable[[], ClusterClient]
    may_write: Callable[[], bool]

    def handlers(self) -> dict[EffectKind, Handler]:
        return {EffectKind.PROMOTE: self.promote, EffectKind.DEMOTE: self.demote}

    def promote(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        topics = cutover.topics_of(effect.scope)
        with contextlib.closing(self.client()) as client:
            return _granted(promote_acls(self.store, client, topics, self.may_write).values())

    def demote(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        topics = cutover.topics_of(effect.scope)
        with contextlib.closing(self.client()) as client:
            return _granted([demote_acls(self.store, client, topics, self.may_write)])


def _granted(outcomes: Iterable[GrantOutcome]) -> Carried | Waits:
    for outcome in outcomes:
        if isinstance(outcome, Later):
            return Waits(outcome.reason)
        if isinstance(outcome, Failed):
            raise Refused(
                f"the target refuses to change rights: {outcome.reason}",
                hint="give kmigrate the right ALTER on the target cluster",
            )
    return Carried()
