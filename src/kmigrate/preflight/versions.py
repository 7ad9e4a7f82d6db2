"""Which release of Kafka a broker is at least, told from the requests that it offers.  (pure)

Brokers do not tell their version. Each step is a request, or a version of one, that a release was the first to offer.

Source: Kafka's message schemas by release (clients/src/main/resources/common/message).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from kmigrate.kafka_types import BrokerAddress, Side
from kmigrate.preflight.findings import Finding, found
from kmigrate.preflight.registry import FindingId
from kmigrate.wire.call import VersionRanges

Release: TypeAlias = tuple[int, int]


class _Step(NamedTuple):
    release: Release
    api_key: int
    version: int


_FETCH, _PRODUCE, _LIST_GROUPS, _DESCRIBE_LOG_DIRS = 1, 0, 16, 35
_DESCRIBE_PRODUCERS, _LIST_TRANSACTIONS, _DESCRIBE_TOPIC_PARTITIONS = 61, 66, 75
_STEPS = (
    _Step((2, 8), _DESCRIBE_PRODUCERS, 0),
    _Step((3, 0), _LIST_TRANSACTIONS, 0),
    _Step((3, 1), _FETCH, 13),
    _Step((3, 3), _DESCRIBE_LOG_DIRS, 4),
    _Step((3, 5), _FETCH, 15),
    _Step((3, 7), _FETCH, 16),
    _Step((3, 8), _LIST_GROUPS, 5),
    _Step((3, 9), _FETCH, 17),
    _Step((4, 1), _PRODUCE, 13),
)
OLDEST: Release = (0, 0)
_NEWEST = _STEPS[-1].release
_FIRST_WITHOUT_OLD_FETCH: Release = (4, 0)


def release_of(offered: VersionRanges) -> Release:
    """The newest release whose requests a broker offers; (0, 0): older than any that is supported."""
    reached = OLDEST
    for step in _STEPS:
        if offered.get(step.api_key, (0, -1))[1] >= step.version:
            reached = max(reached, step.release)
    if reached >= (3, 9) and offered.get(_FETCH, (0, 0))[0] >= 4:
        reached = max(reached, _FIRST_WITHOUT_OLD_FETCH)
    return reached


def show_release(release: Release) -> str:
    """`3.9`, or that it may be newer."""
    text = f"{release[0]}.{release[1]}"
    return f"{text} or newer" if release == _NEWEST else text


def judge_versions(side: Side, releases: Mapping[BrokerAddress, Release]) -> list[Finding]:
    """What the brokers offer; of different ones the oldest counts."""
    known = sorted(set(releases.values()) - {OLDEST})
    if not known:
        return []
    mixed = f"; other brokers that of {', '.join(map(show_release, known[1:]))}" if len(known) > 1 else ""
    return [found(FindingId.VERSIONS, side=side, release=show_release(known[0]), mixed=mixed)]


def oldest(releases: Iterable[Release]) -> Release:
    """The release of the oldest broker."""
    return min(releases, default=OLDEST)
