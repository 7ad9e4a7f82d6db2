"""Every group of the source either takes part or is left out for a reason that is told.  (pure)"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmigrate.manifest import LEASE_PREFIX, Manifest
from kmigrate.wire.offset_calls import ListedGroup

LEASE = "a lease of kmigrate"
NOT_INCLUDED = "not included by the manifest"
EXCLUDED = "excluded by the manifest"

_CONSUMER = ("consumer", "")
"""Protocol types of groups that commit offsets; empty where nobody was ever a member."""
_UNSUPPORTED = ("share", "streams")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedGroups:
    """What takes part, what does not and why; `unsupported` are those that the manifest wants but nobody can move."""

    groups: Mapping[str, ListedGroup]
    left_out: Mapping[str, str]
    unsupported: Mapping[str, str]


def select_groups(listed: Iterable[ListedGroup], manifest: Manifest) -> SelectedGroups:
    """Sorts the groups of a source."""
    moving: dict[str, ListedGroup] = {}
    left_out: dict[str, str] = {}
    unsupported: dict[str, str] = {}
    for group in sorted(listed):
        reason = _reason_to_leave_out(group.group_id, manifest)
        if reason is not None:
            left_out[group.group_id] = reason
        elif (reason := _reason_against(group)) is not None:
            unsupported[group.group_id] = reason
        else:
            moving[group.group_id] = group
    return SelectedGroups(groups=moving, left_out=left_out, unsupported=unsupported)


def _reason_to_leave_out(group_id: str, manifest: Manifest) -> str | None:
    if group_id.startswith(LEASE_PREFIX):
        return LEASE
    if manifest.groups.selects(group_id):
        return None
    include, _exclude = manifest.groups.patterns
    return EXCLUDED if any(pattern.fullmatch(group_id) for pattern in include) else NOT_INCLUDED


def _reason_against(group: ListedGroup) -> str | None:
    if group.group_type in _UNSUPPORTED or group.protocol_type in _UNSUPPORTED:
        return f"a {group.group_type or group.protocol_type} group: its progress cannot be moved"
    if group.protocol_type not in _CONSUMER:
        return f"not a consumer group: its members speak {group.protocol_type!r}"
    return None
