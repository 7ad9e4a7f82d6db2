"""Rights to change a topic wait, journaled, until the topic is promoted; then they take effect.

A target topic takes one writer at a time: until promotion that is the copy. So these rules are decided by `apply` and
created by whoever promotes, when nothing more is copied into any topic that they are about. A promotion that is taken
back takes them away again; they were decided because the target did not have them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.copier import WAITING_FOR_LEASE
from kmigrate.errors import ClusterError
from kmigrate.runner.granting import Granted, GrantOutcome, create_acls, delete_acls
from kmigrate.security.acls import concerns
from kmigrate.security.ask import ask_acls
from kmigrate.state.store import EffectEntry, Store
from kmigrate.topics.create import Failed, Later
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType

log = logging.getLogger(__name__)

PROMOTE_ACLS = "promote-acls"


def prepare_acls(store: Store, acls: Iterable[Acl]) -> list[Acl]:
    """Journals rules that are to take effect at promotion, an effect for each resource; returns those that are new."""
    known = {acl for entry in store.effects() if entry.kind == PROMOTE_ACLS for acl in acls_of(entry)}
    new = sorted(set(acls) - known)
    _plan(store, new)
    return new


def promote_acls(
    store: Store, target: ClusterClient, promoted: Collection[str], may_write: Callable[[], bool]
) -> dict[int, GrantOutcome]:
    """Creates the rules about these topics; outcomes by effect id.

    A rule that is about a topic which is still held too (a prefix, or any topic) waits for that one.
    """
    held = frozenset(store.held()) - frozenset(promoted)
    outcomes: dict[int, GrantOutcome] = {}
    for entry in store.effects():
        if entry.kind != PROMOTE_ACLS or entry.is_done:
            continue
        acls = acls_of(entry)
        about_promoted = any(concerns(acl, topic) for acl in acls for topic in promoted)
        if about_promoted and not any(concerns(acl, topic) for acl in acls for topic in held):
            outcomes[entry.id] = _create(store, target, entry, acls, may_write)
    return outcomes


def demote_acls(
    store: Store, target: ClusterClient, demoted: Collection[str], may_write: Callable[[], bool]
) -> GrantOutcome:
    """Takes away the rules about these topics that a promotion created; they wait for the next one from then on.

    A rule whose creation was cut short is not known to be there, and taken away too. Where the target refuses that, and
    shows none of them, nothing is to be taken away: writers may wait for it.
    """
    entries = [entry for entry in store.effects() if entry.kind == PROMOTE_ACLS]
    acls, waiting = set[Acl](), set[Acl]()
    for entry in entries:
        mine = {acl for acl in acls_of(entry) if any(concerns(acl, topic) for topic in demoted)}
        acls |= mine
        waiting |= set() if entry.is_done else mine
    if not acls:
        return Granted()
    if not may_write():
        return Later(WAITING_FOR_LEASE)
    try:
        outcome = delete_acls(target, sorted(acls))
    except ClusterError as error:
        return Later(str(error))
    if isinstance(outcome, Failed) and _is_none_there(target, acls):
        outcome = Granted()
    if isinstance(outcome, Granted):
        _plan(store, sorted(acls - waiting))
        log.info("%d rules were taken away, and wait for the next promotion", len(acls))
    return outcome


def _is_none_there(target: ClusterClient, acls: Collection[Acl]) -> bool:
    """Whether the target shows its rules, and none of these is among them."""
    there = ask_acls(target).value
    return there is not None and not set(acls) & set(there)


def acls_of(entry: EffectEntry) -> list[Acl]:
    """The rules that an effect is about."""
    return [parse_acl(each) for each in entry.payload["acls"]]


def parse_acl(kept: list[Any]) -> Acl:
    """A rule as the journal keeps it."""
    resource_type, name, pattern_type, principal, host, operation, permission = kept
    return Acl(
        ResourceType(resource_type),
        name,
        PatternType(pattern_type),
        principal,
        host,
        AclOperation(operation),
        Permission(permission),
    )


def _plan(store: Store, acls: Iterable[Acl]) -> None:
    payloads: dict[str, list[list[Any]]] = {}
    for acl in acls:
        payloads.setdefault(acl.resource, []).append(list(acl))
    store.plan_effects(PROMOTE_ACLS, {name: {"acls": each} for name, each in payloads.items()})


def _create(
    store: Store, target: ClusterClient, entry: EffectEntry, acls: list[Acl], may_write: Callable[[], bool]
) -> GrantOutcome:
    if not may_write():
        return Later(WAITING_FOR_LEASE)
    try:
        outcome = create_acls(target, acls)
    except ClusterError as error:
        return Later(str(error))
    if isinstance(outcome, Granted):
        store.end_effect(entry)
        log.info("%s of %s: done", entry.kind, entry.topic)
    return outcome
