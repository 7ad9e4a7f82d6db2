"""The fences of a migration as `status` shows them, with the command lines that remove them by hand.  (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict, with_config
from pydantic.alias_generators import to_camel

from kmigrate.kafka_types import Side
from kmigrate.security.fence import Fence, FenceKind, FencePhase, Instant
from kmigrate.security.fence_moves import removal_lines

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class FenceStatus:
    """One fence. `since` and `deadline` are milliseconds since the epoch; null: it does not stand on by itself.

    `seconds_left` until it is lifted unless somebody confirms it. `is_watched`: a process lives that will lift it.
    `removal` are the command lines for a person without kmigrate; `left` is what somebody changed, and was left so.
    """

    number: int
    side: Side
    kind: FenceKind
    phase: FencePhase
    topics: tuple[str, ...]
    principals: tuple[str, ...]
    since: int
    deadline: int | None
    seconds_left: float | None
    is_watched: bool
    removal: tuple[str, ...]
    left: tuple[str, ...] = ()
    story: tuple[str, ...] = ()


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class FencesDocument:
    """All fences of a migration that are remembered."""

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Fences"] = "Fences"
    name: str
    fences: tuple[FenceStatus, ...]


def fence_status(fence: Fence, now: Instant, *, is_watched: bool) -> FenceStatus:
    """What is told of a fence."""
    is_over = fence.phase is FencePhase.LIFTED
    seconds_left = fence.seconds_left(now) if fence.is_wanted else None
    return FenceStatus(
        number=fence.number,
        side=fence.side,
        kind=fence.kind,
        phase=fence.phase,
        topics=fence.topics,
        principals=fence.principals,
        since=fence.begun.wall_ms,
        deadline=None if seconds_left is None else now.wall_ms + int(seconds_left * 1000),
        seconds_left=None if seconds_left is None else round(max(0.0, seconds_left), 1),
        is_watched=is_watched,
        removal=() if is_over else removal_lines(fence),
        left=fence.left,
        story=tuple(each.what for each in fence.events),
    )
