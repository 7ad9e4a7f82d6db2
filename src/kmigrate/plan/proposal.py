"""A manifest that is proposed: what was seen of both clusters, and the commented YAML that follows.  (pure)

Every value says what it follows from, so that who reads it can judge it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kmigrate.plan.estimates import Rates
from kmigrate.words import count_of

LISTED = 40
"""Names of one kind that are listed in comments."""
SHARE = 2
"""The proposed limit is what a copy could take, divided by this: the rest is for applications."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenForProposal:
    """What both clusters showed; `topics` are those that would move, with their partitions.

    None where the source does not tell: its `groups`, its `users`, `size_bytes` of the topics that would move.
    """

    name: str
    source_file: str
    target_file: str
    source_cluster_id: str
    target_cluster_id: str
    source_brokers: int
    target_brokers: int
    topics: Mapping[str, int]
    left_out: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1
    groups: tuple[str, ...] | None = None
    size_bytes: int | None = None
    users: Mapping[str, tuple[str, int]] | None = None
    """User → mechanism and iterations."""


def propose_manifest(seen: SeenForProposal) -> str:
    """The manifest's text."""
    return (
        "\n".join(
            [
                *(*_head(seen), *_topics(seen), *_groups(seen), *_replicas(seen)),
                *(*_limits(seen), *_cutover(), *_users(seen)),
            ]
        )
        + "\n"
    )


def propose_limit(seen: SeenForProposal) -> int:
    """Bytes a second."""
    return Rates.of(target_brokers=seen.target_brokers, workers=1, limit=None).copied_bytes // SHARE


def _head(seen: SeenForProposal) -> list[str]:
    lines = ["apiVersion: kmigrate/v1", "kind: Migration", "metadata:"]
    lines += [f"  name: {_text(seen.name)}", "spec:"]
    for side, file, cluster_id, brokers in (
        ("source", seen.source_file, seen.source_cluster_id, seen.source_brokers),
        ("target", seen.target_file, seen.target_cluster_id, seen.target_brokers),
    ):
        lines += [
            f"  {side}:  # {count_of(brokers, 'broker')} answered for it",
            f"    clusterId: {_text(cluster_id)}  # a guard: any other cluster is refused",
            f"    propertiesFile: {_text(file)}",
        ]
    return lines


def _topics(seen: SeenForProposal) -> Iterator[str]:
    partitions = sum(seen.topics.values())
    yield "  topics:"
    yield "    # regular expressions for the whole name; a topic must match one of `include` and none of `exclude`"
    yield '    include: [".*"]'
    yield "    exclude: []"
    yield f"    # that selects {count_of(len(seen.topics), 'topic')} with {count_of(partitions, 'partition')} today:"
    yield from _listed(f"{name} ({count_of(count, 'partition')})" for name, count in sorted(seen.topics.items()))
    if seen.left_out:
        yield "    # and leaves out:"
        yield from _listed(f"{name}: {reason}" for name, reason in sorted(seen.left_out.items()))


def _groups(seen: SeenForProposal) -> Iterator[str]:
    yield "  groups:"
    yield '    include: [".*"]'
    yield '    exclude: ["console-consumer-.*"]  # made by hand, for a look'
    if seen.groups is None:
        yield "    # the source does not tell its groups"
        return
    yield f"    # the source has {count_of(len(seen.groups), 'group')}:"
    yield from _listed(sorted(seen.groups))


def _replicas(seen: SeenForProposal) -> Iterator[str]:
    fits = seen.replicas <= seen.target_brokers
    why = f"the source's topics have up to {seen.replicas}, the target has {count_of(seen.target_brokers, 'broker')}"
    yield f"  replicationFactor: {'source' if fits else 'fit'}  # source, fit or a number; {why}"


def _limits(seen: SeenForProposal) -> Iterator[str]:
    limit = propose_limit(seen)
    yield "  limits:"
    yield f"    # half of what a copy with one worker is assumed to take ({limit * SHARE:,} bytes a second), so that"
    yield "    # applications keep the rest of the line and the disks; null: no limit. `kmigrate throttle` changes it."
    if seen.size_bytes is None:
        yield "    # The source does not tell sizes (the right DESCRIBE on the cluster is missing)."
    else:
        hours = seen.size_bytes / limit / 3600
        yield f"    # {seen.size_bytes:,} bytes are on the source's disks: at this limit they take {hours:.1f} hours,"
        yield "    # and what is written meanwhile comes on top."
    yield f"    bytesPerSecond: {limit}"


def _users(seen: SeenForProposal) -> Iterator[str]:
    yield "  # principals:  # of the source to their names on the target; others keep theirs"
    yield '  #   "User:app": "User:app-new"'
    if not seen.users:
        return
    yield "  # users:  # no cluster tells a password: name where `kmigrate apply` finds it"
    for user, (mechanism, iterations) in sorted(seen.users.items()):
        variable = "".join(char if char.isascii() and char.isalnum() else "_" for char in user.upper())
        reference = _text(f"${{env:{variable}_PASSWORD}}")
        yield f"  #   {_text(user)}: {{mechanism: {mechanism}, iterations: {iterations}, password: {reference}}}"


def _cutover() -> Iterator[str]:
    """What nobody but its operators can know of a service."""
    yield "  # scheme: consumers-first  # or producers-first, producers-later: who moves when; none: only a copy"
    yield "  # history: stopped  # producers-first: stopped, rolling, none; producers-later: rolling, none"
    yield "  # ending: clean  # consumers-first: clean, overlap"
    yield "  # fence: none  # what keeps writers away while they wait: none, acl, min-isr"
    yield "  # wayBack: true  # what the target gets is copied to the source until the end"
    yield "  # applications:  # what reads topics and writes others moves as one"
    yield "  #   - {name: billing, groups: [billing], reads: [orders], writes: [bills], ownCheckpoints: false}"
    yield "  # waves:  # what moves together; without them everything does. Each may have keys of its own, as scheme"
    yield '  #   - {name: shop, topics: [orders, bills], groups: ["shop-.*", billing]}'
    yield "  # cutover: {freezeSeconds: 600, stillSeconds: 330, approvalSeconds: 900}  # how long things may take"


def _listed(names: Iterator[str] | list[str]) -> Iterator[str]:
    every = list(names)
    for name in every[:LISTED]:
        yield f"    #   {name}"
    if len(every) > LISTED:
        yield f"    #   … and {len(every) - LISTED:,} more"


def _text(value: str) -> str:
    """A text in double quotes, as JSON and YAML both read it."""
    return json.dumps(value, ensure_ascii=False)
