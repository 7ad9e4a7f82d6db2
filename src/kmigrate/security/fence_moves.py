"""What is still to be done to put a fence or to lift it, given what a cluster shows now.  (pure)

Rule: each of these can be asked again at any time, and asks for nothing once it is done. Of a setting that is neither
what it was nor what the fence made of it nothing is asked: somebody changed it, and it is told.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from kmigrate.kafka_types import Side, TopicName
from kmigrate.security.fence import MIN_ISR, Fence, FenceKind
from kmigrate.wire.acl_calls import Acl, Permission

TOPICS_A_LINE = 50

Own = Mapping[TopicName, str | None]
"""What topics have of their own of `min.insync.replicas`; None: the broker's default counts."""


class SettingMoves(NamedTuple):
    """Topics to be altered, with what they are to have of their own; and what somebody changed, in words."""

    wanted: Mapping[TopicName, str | None]
    strange: tuple[str, ...]


def acls_to_put(fence: Fence, there: Collection[Acl]) -> tuple[tuple[Acl, ...], ...]:
    """Rules that are missing, in the order of steps: what lets readers go on comes before what denies."""
    missing = [each.acl for each in fence.acls if each.acl not in there]
    return _steps(missing, first=Permission.ALLOW)


def acls_to_remove(fence: Fence, there: Collection[Acl]) -> tuple[tuple[Acl, ...], ...]:
    """Rules of ours that are still there, in the order of steps: what denies goes before what lets readers go on."""
    ours = [each.acl for each in fence.acls if not each.was_there and each.acl in there]
    return _steps(ours, first=Permission.DENY)


def settings_to_put(fence: Fence, own: Own) -> SettingMoves:
    """Topics that do not have the fence's value yet."""
    return _settings(fence, own, lifting=False)


def settings_to_lift(fence: Fence, own: Own) -> SettingMoves:
    """Topics that still have the fence's value in the place of theirs."""
    return _settings(fence, own, lifting=True)


def is_shown(fence: Fence, there: Collection[Acl], own: Own) -> bool:
    """Whether a broker that shows this shows the whole fence."""
    if fence.kind is FenceKind.ACL:
        return all(each.acl in there for each in fence.acls)
    return all(own.get(each.topic) == each.wanted for each in fence.settings)


def is_gone(fence: Fence, there: Collection[Acl], own: Own) -> bool:
    """Whether a broker that shows this shows nothing of the fence any more."""
    if fence.kind is FenceKind.ACL:
        return not acls_to_remove(fence, there)
    return not settings_to_lift(fence, own).wanted


def rules_beside(rules: Iterable[Acl], fences: Iterable[Fence], side: Side) -> tuple[Acl, ...]:
    """The rules of one side without those that fences put there: they are not the cluster's own, and go again."""
    ours = {each.acl for fence in fences if fence.side is side for each in fence.acls if not each.was_there}
    return tuple(each for each in rules if each not in ours)


def removal_lines(fence: Fence) -> tuple[str, ...]:
    """The command lines with which a person lifts the fence without kmigrate, in their order."""
    config = " --command-config CLIENT.properties" if fence.is_secured else ""
    place = f"--bootstrap-server {fence.bootstrap}{config}"
    if fence.kind is FenceKind.MIN_ISR:
        return tuple(
            f"kafka-configs.sh {place} --alter --entity-type topics --entity-name {each.topic}"
            + (f" --delete-config {MIN_ISR}" if each.before is None else f" --add-config {MIN_ISR}={each.before}")
            for each in fence.settings
            if each.before != each.wanted
        )
    lines = []
    for step in acls_to_remove(fence, {each.acl for each in fence.acls}):
        names: dict[tuple[str, Permission, str], list[str]] = {}
        for acl in step:
            operation = acl.operation.name.title().replace("_", "")
            names.setdefault((acl.principal, acl.permission, operation), []).append(acl.name)
        for (principal, permission, operation), topics in names.items():
            for first in range(0, len(topics), TOPICS_A_LINE):
                some = " ".join(f"--topic {shlex.quote(each)}" for each in topics[first : first + TOPICS_A_LINE])
                lines.append(
                    f"kafka-acls.sh {place} --remove --force --{permission.name.lower()}-principal"
                    f" {shlex.quote(principal)} --operation {operation} {some}"
                )
    return tuple(lines)


def _steps(acls: Iterable[Acl], *, first: Permission) -> tuple[tuple[Acl, ...], ...]:
    ordered = list(acls)
    steps = (
        tuple(each for each in ordered if each.permission is first),
        tuple(each for each in ordered if each.permission is not first),
    )
    return tuple(step for step in steps if step)


def _settings(fence: Fence, own: Own, *, lifting: bool) -> SettingMoves:
    wanted: dict[TopicName, str | None] = {}
    strange = []
    for topic, before, put in fence.settings:
        if topic not in own:
            strange.append(f"topic {topic} does not tell its settings, or is gone")
            continue
        to = before if lifting else put
        have = own[topic]
        if have == to:
            continue
        if have in (before, put):
            wanted[topic] = to
        else:
            strange.append(f"topic {topic} has {show_min_isr(have)}, which somebody else set")
    return SettingMoves(wanted, tuple(strange))


def show_min_isr(value: str | None) -> str:
    """`min.insync.replicas=2`, or that the default counts."""
    return f"{MIN_ISR} by default" if value is None else f"{MIN_ISR}={value}"
