"""Looks at both clusters for a plan: where every partition stands, what it holds, what we may do, and what it weighs.

Rule: it reads, and nothing else: no lock, no lease, no store. Even the group's commits are only asked for where the
target has the topic of all groups, since a broker that is asked for a coordinator would create it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.connection import Connection
from kmigrate.copy.identity import filler_producer_id, marker_producer_id, producer_id
from kmigrate.errors import Blocked, ClusterError
from kmigrate.kafka_types import Offset, Partition, ProducerId, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest, wishes_of
from kmigrate.offsets.beginning import EARLIEST, first_wanted, time_of
from kmigrate.plan.facts import (
    CLEANUP_POLICY,
    DELETE_RETENTION_MS,
    Facts,
    PartitionFacts,
    Right,
    Sampling,
    TargetContent,
    TargetFacts,
    TopicFacts,
    right_to_delete_records,
    right_to_write_markers,
    tombstones_kept_ms,
)
from kmigrate.plan.surroundings import Surroundings
from kmigrate.preflight import Finding, Seen, check, guard_cluster, guard_clusters
from kmigrate.preflight.bounds import Bounds, Unseen, by_leader, read_bounds
from kmigrate.preflight.check import try_both
from kmigrate.preflight.foreign import look_into
from kmigrate.preflight.neighbours import judge_tombstones
from kmigrate.preflight.samples import Samples, Span, take_samples
from kmigrate.preflight.versions import oldest, release_of
from kmigrate.runner.group_survey import look_at_groups
from kmigrate.runner.positions import Commit
from kmigrate.runner.reach import Reach, first_metadata
from kmigrate.runner.remembered import commits_on_target
from kmigrate.runner.surroundings import look_at_surroundings
from kmigrate.runner.transaction_survey import look_at_transactions
from kmigrate.topics.describe import describe_topics, in_batches
from kmigrate.topics.select import select_topics
from kmigrate.wire import survey_calls
from kmigrate.wire.calls import ClusterMetadata

Tell = Callable[[str], None]


class Survey(NamedTuple):
    """What was seen, and what the checks that `run` makes too have found."""

    facts: Facts
    findings: list[Finding]
    surroundings: Surroundings = Surroundings()


def survey(manifest: Manifest, tell: Tell) -> Survey:
    """Looks at everything once; raises Blocked or Refused if the clusters are not there, or not the right ones.

    `tell` gets a sentence before what takes long.
    """
    reach = {
        Side.SOURCE: Reach.of(Side.SOURCE, manifest.source, manifest.name),
        Side.TARGET: Reach.of(Side.TARGET, manifest.target, manifest.name),
    }
    source, target = reach[Side.SOURCE].client(), reach[Side.TARGET].client()
    with contextlib.closing(source), contextlib.closing(target):
        try:
            return Surveyor(manifest, reach, source, target).look(tell)
        except ClusterError as error:
            raise Blocked(f"the plan could not be completed: {error}", hint=error.hint) from error


class Sight(NamedTuple):
    """What one look at both clusters showed, who we are there, and what the target remembers of us."""

    seen: Seen
    ours: ProducerId
    commits: Mapping[TopicPartition, Commit]

    @property
    def partitions(self) -> list[TopicPartition]:
        """Every partition of the selected topics."""
        return [
            TopicPartition(name, Partition(number))
            for name in self.seen.selected.topics
            for number in sorted(self.seen.source.topics[name].partitions)
        ]


@dataclass(slots=True)
class Surveyor:
    """Looks at two clusters, each through a client of its own."""

    manifest: Manifest
    reach: Mapping[Side, Reach]
    source: ClusterClient
    target: ClusterClient

    def look(self, tell: Tell) -> Survey:
        """Checks as `run` does, and all facts; raises what speaks against it."""
        on_source, on_target = first_metadata(self.source), first_metadata(self.target)
        self._guard(on_source.cluster_id, on_target.cluster_id)
        sight = self.see(on_source, on_target)
        settings = {side: each.settings for side, each in self.reach.items()}
        tried = try_both(sight.seen, settings)
        findings = check(self.manifest, sight.seen, self.source, self.target, settings, sight.ours, tried)
        tell(f"looking into {len(sight.partitions):,} partitions")
        facts = self.facts(sight)
        releases = (release_of(each.offered) for each in tried[Side.SOURCE] if not each.failure)
        findings += judge_tombstones(tombstones_kept_ms(facts.topics), oldest(releases))
        around = look_at_surroundings(
            self.source, self.target, on_source, on_target, sight.seen.selected, ours=sight.seen.adopted_topics
        )
        groups = look_at_groups(self.manifest, self.source, self.target, begun=bool(sight.commits))
        transactions = self._transactions(on_source)
        return Survey(facts, findings, replace(around, groups=groups, transactions=transactions))

    def _transactions(self, on_source: ClusterMetadata) -> Mapping[str, Collection[TopicName]]:
        """Only where there are waves that a transaction could cross."""
        if len(wishes_of(self.manifest)) < 2:
            return {}
        return look_at_transactions(self.source, on_source.brokers)

    def see(self, on_source: ClusterMetadata, on_target: ClusterMetadata) -> Sight:
        """Selects topics, and reads what the target remembers."""
        ours = producer_id(on_source.cluster_id, on_target.cluster_id, self.manifest.name)
        commits = self._commits(on_target)
        seen = Seen(
            source=on_source,
            target=on_target,
            selected=select_topics(on_source.topics, self.manifest),
            adopted={tp: commit.memory for tp, commit in commits.items()},
        )
        return Sight(seen, ours, commits)

    def _guard(self, source_id: str, target_id: str) -> None:
        for side, found, cluster in (
            (Side.SOURCE, source_id, self.manifest.source),
            (Side.TARGET, target_id, self.manifest.target),
        ):
            guard_cluster(side, found, wanted=cluster.cluster_id, remembered=None)
        guard_clusters(source=source_id, target=target_id)

    def _commits(self, on_target: ClusterMetadata) -> dict[TopicPartition, Commit]:
        """What this migration remembers on the target; nothing where it cannot be asked: then contents tell."""
        return commits_on_target(self.manifest.lease_group, self.target, on_target)

    def facts(self, sight: Sight) -> Facts:
        """Looks into every partition of the selected topics, on both sides."""
        seen, ours, commits = sight
        partitions = sight.partitions
        bounds = self._bounds(seen.source, partitions, commits)
        wanted = {tp: self._wanted_start(each, commits.get(tp)) for tp, each in bounds.items()}
        targets = self._targets(seen, bounds, wanted, ours)
        known = {tp: _partition(tp, bounds[tp], wanted[tp], targets[tp]) for tp in partitions}
        sizes = self._sizes(seen.source, [tp for tp, facts in known.items() if facts.backlog])
        samples = self._samples(seen.source, known)
        return Facts(
            source_cluster_id=seen.source.cluster_id,
            target_cluster_id=seen.target.cluster_id,
            target_brokers=len(seen.target.brokers),
            may_write_markers=self._marker_right(),
            topics=self._topics(seen.selected.topics),
            partitions=tuple(
                replace(known[tp], size_bytes=sizes.get(tp), census=samples.found.get(tp)) for tp in partitions
            ),
            left_out=seen.selected.left_out,
            start=self.manifest.start,
            start_open=self._start_open(known, commits),
            sampling=Sampling(
                places=samples.places,
                partitions_skipped=len(samples.skipped),
                places_left_out=samples.places_left_out,
                failures=samples.failures,
            ),
        )

    # -- the source

    def _bounds(
        self, metadata: ClusterMetadata, partitions: list[TopicPartition], commits: Collection[TopicPartition]
    ) -> dict[TopicPartition, Bounds | Unseen]:
        """Where a partition was begun, its beginning is decided, and no time is looked up."""
        begun = [tp for tp in partitions if tp in commits]
        others = [tp for tp in partitions if tp not in commits]
        at_ms = time_of(self.manifest.start)
        return read_bounds(self.source, metadata, begun) | read_bounds(self.source, metadata, others, at_ms)

    def _wanted_start(self, bounds: Bounds | Unseen, commit: Commit | None) -> Offset:
        if commit is not None:
            return commit.start
        if isinstance(bounds, Unseen):
            return Offset(0)
        return first_wanted(self.manifest.start, bounds.last_stable, bounds.at_time)

    def _topics(self, names: Collection[TopicName]) -> dict[TopicName, TopicFacts]:
        settings = describe_topics(self.source, list(names), (CLEANUP_POLICY, DELETE_RETENTION_MS))
        return {name: TopicFacts.of(told) for name, told in settings.items()}

    def _sizes(self, metadata: ClusterMetadata, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Bytes on the leaders' disks, as far as they tell."""
        sizes: dict[TopicPartition, int] = {}
        for leader, some in by_leader(metadata, partitions)[0].items():
            with contextlib.suppress(ClusterError):
                told = self.source.broker(leader, survey_calls.describe_log_dirs(some))
                sizes.update(told)
        return sizes

    def _samples(self, metadata: ClusterMetadata, known: Mapping[TopicPartition, PartitionFacts]) -> Samples:
        settings = self.reach[Side.SOURCE].settings
        return take_samples(
            lambda broker: Connection(Side.SOURCE, broker, settings),
            metadata,
            {
                tp: Span(metadata.topics[tp.topic].topic_id, facts.begin, facts.last_stable)
                for tp, facts in known.items()
                if facts.backlog and not facts.unknown
            },
        )

    def _start_open(
        self, known: Mapping[TopicPartition, PartitionFacts], commits: Collection[TopicPartition]
    ) -> frozenset[TopicPartition]:
        """Partitions that the target knows nothing of, although the migration has begun."""
        if not commits or self.manifest.start == EARLIEST:
            return frozenset()
        nothing = (TargetContent.ABSENT, TargetContent.EMPTY)
        return frozenset(tp for tp, each in known.items() if each.target.content in nothing and tp not in commits)

    # -- the target

    def _targets(
        self,
        seen: Seen,
        bounds: Mapping[TopicPartition, Bounds | Unseen],
        wanted: Mapping[TopicPartition, Offset],
        ours: ProducerId,
    ) -> dict[TopicPartition, TargetFacts]:
        there = [
            tp
            for tp in bounds
            if tp.topic in seen.target.topics and tp.partition in seen.target.topics[tp.topic].partitions
        ]
        logs = read_bounds(self.target, seen.target, there)
        contents = self._contents(seen, bounds, wanted, logs, ours)
        rights = self._deletion_rights(list(dict.fromkeys(tp.topic for tp in there)))
        targets = {tp: TargetFacts(content=TargetContent.ABSENT) for tp in bounds}
        for tp, log in logs.items():
            right = rights.get(tp.topic, Right.UNKNOWN)
            if isinstance(log, Unseen):
                targets[tp] = TargetFacts(content=TargetContent.UNSEEN, may_delete=right)
            else:
                targets[tp] = TargetFacts(
                    content=contents.get(tp, TargetContent.EMPTY), start=log.start, end=log.end, may_delete=right
                )
        return targets

    def _contents(
        self,
        seen: Seen,
        bounds: Mapping[TopicPartition, Bounds | Unseen],
        wanted: Mapping[TopicPartition, Offset],
        logs: Mapping[TopicPartition, Bounds | Unseen],
        ours: ProducerId,
    ) -> dict[TopicPartition, TargetContent]:
        """What the partitions hold that are not empty."""
        filled = {tp: log for tp, log in logs.items() if isinstance(log, Bounds) and log.end > 0}
        settings = self.reach[Side.TARGET].settings
        data = look_into(self.target, settings, seen.target, filled, (ours, marker_producer_id(ours)))
        behind = [
            tp for tp, log in filled.items() if not data[tp].ours and _begins_above(bounds[tp], wanted[tp], log.end)
        ]
        filler = look_into(self.target, settings, seen.target, behind, (filler_producer_id(ours),))
        contents = {}
        for tp in filled:
            if tp in filler and filler[tp].ours:
                contents[tp] = TargetContent.FILLER
            else:
                known = data[tp].ours or tp in seen.adopted
                contents[tp] = TargetContent.OURS if known else TargetContent.FOREIGN
        return contents

    def _deletion_rights(self, topics: list[TopicName]) -> dict[TopicName, Right]:
        rights: dict[TopicName, Right] = {}
        for names in in_batches(topics):
            with contextlib.suppress(ClusterError):
                told = self.target.any(survey_calls.topic_operations(names))
                rights.update((name, right_to_delete_records(operations)) for name, operations in told.items())
        return rights

    def _marker_right(self) -> Right:
        try:
            return right_to_write_markers(self.target.any(survey_calls.cluster_operations()))
        except ClusterError:
            return Right.UNKNOWN


def _begins_above(source: Bounds | Unseen, wanted: Offset, end: int) -> bool:
    return isinstance(source, Bounds) and max(source.start, wanted) > end


def _partition(
    partition: TopicPartition, source: Bounds | Unseen, wanted: Offset, target: TargetFacts
) -> PartitionFacts:
    """Where a copy of ours is that nothing remembers, its end tells where it goes on."""
    if isinstance(source, Unseen):
        return PartitionFacts(partition=partition, target=target, unseen=source.reason)
    return PartitionFacts(
        partition=partition,
        target=target,
        start=source.start,
        end=source.end,
        high_watermark=source.high_watermark,
        last_stable=source.last_stable,
        wanted_start=Offset(min(wanted, target.end)) if target.content is TargetContent.OURS else wanted,
    )
