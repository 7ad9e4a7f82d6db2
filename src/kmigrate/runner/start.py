"""The start of a run: both clusters are looked at, and everything that speaks against the copy is said at once.

Rule: nothing is written here, neither to a cluster nor to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.identity import producer_id
from kmigrate.copy.orders import Remembered
from kmigrate.errors import (
    Blocked,
    ClusterError,
    Refused,
)
from kmigrate.kafka_types import ProducerId, Side, Term, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.offsets.beginning import Beginning as PartitionBeginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.preflight import (
    Finding,
    Level,
    Seen,
    check,
    check_existing,
    guard_cluster,
    guard_clusters,
    refuse_blockers,
)
from kmigrate.preflight.check import check_rights, try_both
from kmigrate.preflight.reach import Reach as BrokerReach
from kmigrate.preflight.versions import oldest, release_of, show_release
from kmigrate.runner.beginnings import changed_start
from kmigrate.runner.cleaning import CleaningSeen, look_at_cleaning
from kmigrate.runner.effects import restored_topics
from kmigrate.runner.positions import Commit, merge_memories, parse_commit
from kmigrate.runner.provision import Inspection
from kmigrate.runner.reach import Reach, blocker_of, first_metadata
from kmigrate.runner.surroundings import refuse_used_by_applications
from kmigrate.state.store import Store
from kmigrate.topics.carry import Defaults
from kmigrate.topics.create import TargetTraits
from kmigrate.topics.describe import describe_broker, describe_intended, read_defaults
from kmigrate.topics.hold import BROKER_KEYS, BROKER_MAX_MESSAGE_BYTES, timestamp_limits
from kmigrate.topics.intended import Intended
from kmigrate.topics.select import select_topics
from kmigrate.wire.calls import ClusterMetadata

NAME = "name"
TERM = "term"
BEGUN_MS = "begun.ms"
CLUSTER_ID = {Side.SOURCE: "source.cluster_id", Side.TARGET: "target.cluster_id"}
"""Facts of the store. `begun.ms`: before that nothing was copied; there is none where an earlier store was lost."""

STATE_LOST = "local state was lost; positions come from the target"
_EXPIRATION_MS = "producer.id.expiration.ms"
_DEFAULT_EXPIRATION_MS = 86_400_000

Committed = Callable[[], Mapping[TopicPartition, tuple[int, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What is known before the first write.

    `classes` and `beginnings` are those that the target remembers. `cleared` are target topics that may be copied into;
    `intended` is what is still to be recorded of such topics. `releases` are those of Kafka that the brokers offer.
    """

    source: ClusterMetadata
    target: ClusterMetadata
    producer_id: ProducerId
    memories: Mapping[TopicPartition, Remembered]
    classes: Mapping[TopicPartition, OffsetClass]
    beginnings: Mapping[TopicPartition, PartitionBeginning]
    cleared: frozenset[TopicName]
    intended: Mapping[TopicName, Intended]
    cleaning: CleaningSeen
    traits: TargetTraits
    expiration_ms: int
    notices: tuple[str, ...]
    state_lost: str | None
    releases: Mapping[Side, str]


def look_around(
    manifest: Manifest, store: Store, reach: Mapping[Side, Reach], committed: Callable[[], Committed]
) -> Beginning:
    """Looks at both clusters; raises Blocked or Refused with all there is to say against the copy.

    `committed` opens the lease group's commits, once it is certain that these are the right clusters.
    """
    source, target = reach[Side.SOURCE].client(), reach[Side.TARGET].client()
    try:
        return _look_around(manifest, store, reach, committed, source, target)
    finally:
        source.close()
        target.close()


def _look_around(
    manifest: Manifest,
    store: Store,
    reach: Mapping[Side, Reach],
    committed: Callable[[], Committed],
    source: ClusterClient,
    target: ClusterClient,
) -> Beginning:
    on_source, on_target = first_metadata(source), first_metadata(target)
    _guard(manifest, store, on_source.cluster_id, on_target.cluster_id)
    ours = producer_id(on_source.cluster_id, on_target.cluster_id, manifest.name)
    selected = select_topics(on_source.topics, manifest)
    try:
        commits = read_commits(committed()())
    except Blocked:
        blank = Seen(source=on_source, target=on_target, selected=selected, adopted=())
        refuse_blockers(check_rights(manifest, blank, source, target, ours))  # perhaps one of several rights is missing
        raise
    memories = merge_memories(store.remembered(), commits, Term(int(store.get(TERM) or 0)))
    seen = Seen(
        source=on_source,
        target=on_target,
        selected=selected,
        adopted=memories,
        restored=restored_topics(store),
    )
    settings = {side: each.settings for side, each in reach.items()}
    try:
        tried = try_both(seen, settings)
        findings = check(manifest, seen, source, target, settings, ours, tried)
        refuse_blockers(findings)
        refuse_used_by_applications(manifest, source, on_source, seen.selected, seen.adopted_topics)
        told = describe_brokers(target, on_target)
        traits = TargetTraits(
            limits=timestamp_limits(told),
            max_bytes=_whole(told.get(BROKER_MAX_MESSAGE_BYTES)),
            defaults=read_defaults(target, on_target.brokers, sorted(on_target.topics)),
        )
        intended = _read_intended(store, seen, source, target, _untouched(seen, findings), traits.defaults)
        cleaning = look_at_cleaning(source, sorted({*seen.selected.topics, *seen.adopted_topics}))
    except ClusterError as error:
        raise blocker_of(error)(f"the check could not be completed: {error}", hint=error.hint) from error
    return Beginning(
        source=on_source,
        target=on_target,
        producer_id=ours,
        memories=memories,
        classes={partition: commit.offset_class for partition, commit in commits.items()},
        beginnings={partition: commit.beginning for partition, commit in commits.items()},
        cleared=frozenset(name for name in seen.selected.topics if name in on_target.topics),
        intended=intended,
        cleaning=cleaning,
        traits=traits,
        expiration_ms=_whole(told.get(_EXPIRATION_MS)) or _DEFAULT_EXPIRATION_MS,
        notices=(
            *filter(None, [changed_start(store, manifest.start)]),
            *(str(finding) for finding in findings if finding.level is Level.WARN),
        ),
        state_lost=STATE_LOST if _is_state_lost(store, commits, findings) else None,
        releases={side: _release(tried[side]) for side in Side},
    )


def _release(tried: Collection[BrokerReach]) -> str:
    """Of different brokers the oldest counts."""
    return show_release(oldest(release_of(each.offered) for each in tried if not each.failure))


def _untouched(seen: Seen, findings: Collection[Finding]) -> set[TopicName]:
    """Selected topics that the target has and that nothing was copied into."""
    forgotten = {name for finding in findings for name in finding.forgotten}
    return {*seen.selected.topics} & seen.target.topics.keys() - seen.adopted_topics - forgotten


def _read_intended(
    store: Store,
    seen: Seen,
    source: ClusterClient,
    target: ClusterClient,
    untouched: Collection[TopicName],
    defaults: Defaults | None = None,
) -> dict[TopicName, Intended]:
    """What the target's topics are to become, of those where that is not recorded for good."""
    recorded = store.intended()
    existing = {*seen.selected.topics, *seen.adopted_topics} & seen.target.topics.keys() - restored_topics(store)
    known = {name for name, intended in recorded.items() if intended.settings is not None and name not in untouched}
    names = sorted(existing - known)
    return describe_intended(source, target, names, recorded=recorded, untouched=untouched, defaults=defaults)


def _is_state_lost(store: Store, commits: Mapping[TopicPartition, Commit], findings: Sequence[Finding]) -> bool:
    """Whether the target knows of an earlier copy that this folder knows nothing of."""
    if store.remembered():
        return False
    return bool(commits) or (store.get(NAME) is None and any(finding.forgotten for finding in findings))


def _guard(manifest: Manifest, store: Store, source_id: str, target_id: str) -> None:
    name = store.get(NAME)
    if name is not None and name != manifest.name:
        raise Refused(
            f"this folder is that of the migration {name}, not of {manifest.name}",
            hint="a migration keeps its name; copy no folder of another one",
        )
    for side, found, wanted in (
        (Side.SOURCE, source_id, manifest.source.cluster_id),
        (Side.TARGET, target_id, manifest.target.cluster_id),
    ):
        guard_cluster(side, found, wanted=wanted, remembered=store.get(CLUSTER_ID[side]))
    guard_clusters(source=source_id, target=target_id)


def read_commits(committed: Mapping[TopicPartition, tuple[int, str]]) -> dict[TopicPartition, Commit]:
    """What the lease group's commits say; what is none of ours is left out."""
    parsed = {partition: parse_commit(*each) for partition, each in committed.items()}
    return {partition: commit for partition, commit in parsed.items() if commit is not None}


def describe_brokers(client: ClusterClient, metadata: ClusterMetadata) -> Mapping[str, str]:
    """What one broker tells of the settings that matter here; the shortest expiry of all of them."""
    told: dict[str, str] = {}
    for broker in metadata.brokers:
        try:
            settings = describe_broker(client, broker, [*BROKER_KEYS, _EXPIRATION_MS])
        except ClusterError:
            continue  # one broker of many: what the others tell is enough, or the default
        shortest = min(filter(None, (_whole(each.get(_EXPIRATION_MS)) for each in (told, settings))), default=None)
        told = {**settings, **told}
        if shortest is not None:
            told[_EXPIRATION_MS] = str(shortest)
    return told


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def inspect_topics(
    manifest: Manifest, store: Store, reach: Mapping[Side, Reach], ours: ProducerId, names: tuple[TopicName, ...]
) -> Inspection:
    """Looks at target topics that turned up while running."""
    source, target = reach[Side.SOURCE].client(), reach[Side.TARGET].client()
    objections: dict[TopicName, str] = {}
    intended: dict[TopicName, Intended] = {}
    try:
        on_source, on_target = source.metadata(names), target.metadata(names)
        for name in names:
            there = {name: on_target.topics[name]}
            seen = Seen(
                source=on_source,
                target=ClusterMetadata(
                    cluster_id=on_target.cluster_id,
                    controller=on_target.controller,
                    brokers=on_target.brokers,
                    topics=there,
                ),
                selected=select_topics({name: on_source.topics[name]}, manifest),
                adopted=(),
            )
            findings = check_existing(manifest, seen, source, target, reach[Side.TARGET].settings, ours)
            against = [finding for finding in findings if finding.level is Level.BLOCK]
            if against:
                objections[name] = "; ".join(finding.what for finding in against)
            else:
                defaults = read_defaults(target, on_target.brokers, [name])
                intended |= _read_intended(store, seen, source, target, _untouched(seen, findings), defaults)
    finally:
        source.close()
        target.close()
    return Inspection(objections, intended)
