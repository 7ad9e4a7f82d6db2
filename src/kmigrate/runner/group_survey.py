"""Looks at the consumer groups of both clusters for a plan; reads only.

A broker that is asked for a coordinator creates the topic of all groups if there is none. So commits are only asked for
of groups that the cluster lists: then the topic is there.
"""

from __future__ import annotations

from collections.abc import Collection

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.groups.cluster_groups import ClusterGroups
from kmigrate.groups.foresee import Commits, GroupsSeen
from kmigrate.groups.select import select_groups
from kmigrate.kafka_types import Side
from kmigrate.manifest import Manifest
from kmigrate.wire.call import error_name
from kmigrate.wire.offset_calls import ListedGroup


def look_at_groups(manifest: Manifest, source: ClusterClient, target: ClusterClient, *, begun: bool) -> GroupsSeen:
    """The groups that the source lists, and what is known of them on both sides."""
    untold: list[tuple[Side, str]] = []
    asked = ClusterGroups(source)
    here = _list(asked, untold)
    selected = select_groups(here, manifest).groups
    theirs = ClusterGroups(target)
    there = _list(theirs, untold) if selected else []
    on_both = [each.group_id for each in there if each.group_id in selected]
    return GroupsSeen(
        source=here,
        target=there,
        source_commits=_commits(asked, selected, untold),
        target_commits=_commits(theirs, on_both, untold),
        begun=begun,
        untold=tuple(untold),
    )


def _list(groups: ClusterGroups, untold: list[tuple[Side, str]]) -> list[ListedGroup]:
    try:
        listing = groups.list_all()
    except ClusterError as error:
        untold.append((groups.side, str(error)))
        return []
    if listing.trouble:
        untold.append((groups.side, listing.trouble))
    return [*listing.groups.values()]


def _commits(groups: ClusterGroups, names: Collection[str], untold: list[tuple[Side, str]]) -> dict[str, Commits]:
    """What each has committed; those that are not told are left out, and the first reason is kept."""
    found: dict[str, Commits] = {}
    trouble = ""
    for broker, chunk in groups.by_coordinator(names):
        try:
            answers = groups.fetch_offsets(broker, chunk)
        except ClusterError as error:
            trouble = trouble or str(error)
            continue
        for group, answer in answers.items():
            if answer.error:
                trouble = trouble or f"the commits of group {group}: {error_name(answer.error)}"
                continue
            told = answer.partitions.items()
            found[group] = {tp: each.offset for tp, each in told if each.offset >= 0 and not each.error}
    if trouble:
        untold.append((groups.side, trouble))
    return found
