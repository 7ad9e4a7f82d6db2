"""The whole check: everything that would go wrong is looked for, and all of it is told at once.

Rule: it reads, and nothing else. One examination that fails is told as not examined and holds up no other; what a
cluster that does not answer would have to tell is left out only with that reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kmigrate.access.security import Principal
from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.principal import principal_of
from kmigrate.errors import ClusterError, KmigrateError, Refused
from kmigrate.groups.select import select_groups
from kmigrate.kafka_types import BrokerId, Side, TopicName
from kmigrate.manifest import ClusterSettings, Manifest
from kmigrate.plan.document import make_plan
from kmigrate.plan.facts import CLEANUP_POLICY, DELETE_RETENTION_MS, TopicFacts, tombstones_kept_ms
from kmigrate.preflight.ask_rights import RightsAsked, Subject, creation_refusals
from kmigrate.preflight.check import check_existing, hidden_topics, judge_replication, judge_selection
from kmigrate.preflight.clock import judge_clock
from kmigrate.preflight.document import CheckDocument, make_document
from kmigrate.preflight.findings import Finding, found, name_some, not_examined
from kmigrate.preflight.gauges import read_controller_stamp, read_stamps
from kmigrate.preflight.guards import guard_cluster
from kmigrate.preflight.limits import judge_batches, judge_min_insync, judge_sizes
from kmigrate.preflight.loss import judge_retention
from kmigrate.preflight.neighbours import (
    Quota,
    judge_collisions,
    judge_groups,
    judge_quotas,
    judge_tombstones,
    quotas_for,
)
from kmigrate.preflight.reach import judge_reach, step_of, try_brokers
from kmigrate.preflight.registry import FindingId
from kmigrate.preflight.rights import judge_principal, judge_rights, lease_group
from kmigrate.preflight.versions import OLDEST, Release, judge_versions, oldest, release_of
from kmigrate.runner.reach import Reach
from kmigrate.runner.survey import Sight, Surveyor
from kmigrate.runner.weigh import (
    Weights,
    copy_rate,
    examine_room,
    examine_transactions,
    read_loads,
    retention_of,
)
from kmigrate.topics.describe import describe_broker, describe_topics
from kmigrate.topics.hold import BROKER_MAX_MESSAGE_BYTES, TimestampLimits, hold_settings
from kmigrate.topics.replicas import decide_replication_factor
from kmigrate.wire import offset_calls, quota_calls
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import ClusterMetadata, NewTopic
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.offset_calls import ListedGroup
from kmigrate.words import count_of

_TIMESTAMP_TYPE = "message.timestamp.type"
_TOPIC_KEYS = (
    CLEANUP_POLICY,
    "retention.ms",
    "retention.bytes",
    DELETE_RETENTION_MS,
    "max.message.bytes",
    _TIMESTAMP_TYPE,
)
_SOCKET_BYTES = "socket.request.max.bytes"
_MIN_INSYNC = "min.insync.replicas"
_SPLIT_LIMITS: Release = (3, 6)
_INVALID_REPLICATION_FACTOR = 38
_SETTLED_ELSEWHERE = (_INVALID_REPLICATION_FACTOR, 17, int(ErrorCode.TOPIC_ALREADY_EXISTS))
"""What other findings tell: too few brokers, a name that collides, a topic that came up meanwhile."""

Tell = Callable[[str], None]
Judge = Callable[[], list[Finding]]


def examine(manifest: Manifest, tell: Tell) -> CheckDocument:
    """Looks at everything once; raises nothing that a cluster does."""
    reach = {
        Side.SOURCE: Reach.of(Side.SOURCE, manifest.source, manifest.name),
        Side.TARGET: Reach.of(Side.TARGET, manifest.target, manifest.name),
    }
    with contextlib.ExitStack() as stack:
        clients = {side: stack.enter_context(contextlib.closing(each.client())) for side, each in reach.items()}
        examiner = _Examiner(manifest, reach, clients)
        findings = examiner.examine(tell)
    ids = {side: metadata.cluster_id for side, metadata in examiner.clusters.items()}
    return make_document(
        manifest.name,
        findings,
        source_cluster_id=ids.get(Side.SOURCE),
        target_cluster_id=ids.get(Side.TARGET),
    )


@dataclass(slots=True)
class _Examiner:
    manifest: Manifest
    reach: Mapping[Side, Reach]
    clients: Mapping[Side, ClusterClient]
    clusters: dict[Side, ClusterMetadata] = field(default_factory=dict)
    releases: dict[Side, Release] = field(default_factory=lambda: dict.fromkeys(Side, OLDEST))
    settings: Mapping[TopicName, Mapping[str, str]] = field(default_factory=dict)
    quotas: dict[Side, list[Quota]] = field(default_factory=lambda: {side: [] for side in Side})
    groups: dict[Side, list[ListedGroup]] = field(default_factory=dict)
    hidden: tuple[TopicName, ...] = ()
    """Topics that the manifest names and that may not be described."""

    def examine(self, tell: Tell) -> list[Finding]:
        """All findings, in the order in which they were made."""
        findings = [finding for side in Side for finding in self._reach(side)]
        if len(self.clusters) < len(Side):
            missing = next(side for side in Side if side not in self.clusters)
            reason = f"the {missing} cluster does not answer"
            return [*findings, not_examined("rights, topics, groups, room and retention", reason)]
        wrong = self._guard()
        if wrong:
            return [*findings, *wrong, not_examined("rights, topics, groups, room and retention", "see above")]
        source_id, target_id = (self.clusters[side].cluster_id for side in Side)
        findings.append(found(FindingId.CLUSTER_IDS, source=source_id, target=target_id))
        surveyor = Surveyor(self.manifest, self.reach, self.clients[Side.SOURCE], self.clients[Side.TARGET])
        sight = surveyor.see(self.clusters[Side.SOURCE], self.clusters[Side.TARGET])
        for side in Side:
            findings += _attempt(f"quotas on the {side}", lambda side=side: self._quotas(side))  # type: ignore[misc]
        findings += _attempt("groups", self._groups)
        findings += _attempt("settings of the source's topics", lambda: self._read_settings(sight))
        findings += _attempt("topics that the manifest names", lambda: self._look_for_hidden(sight))
        tell("asking for rights")
        for side in Side:
            findings += _attempt(
                f"rights on the {side}",
                lambda side=side: self._rights(side, sight),  # type: ignore[misc]
            )
        findings += self._topics(sight)
        tell(f"looking into {len(sight.partitions):,} partitions")
        findings += _attempt("sizes, room and retention", lambda: self._weigh(surveyor, sight))
        for side in Side:
            findings += _attempt(
                f"the clock of the {side}",
                lambda side=side: self._clock(side),  # type: ignore[misc]
            )
        return findings

    # -- reach and guards

    def _reach(self, side: Side) -> list[Finding]:
        try:
            metadata = self.clients[side].metadata(None)
        except ClusterError as error:
            return [found(FindingId.CLUSTER_UNREACHABLE, side=side, step=step_of(error), reason=str(error))]
        self.clusters[side] = metadata
        tried = try_brokers(side, metadata.brokers.values(), self.reach[side].settings)
        releases = {each.broker: release_of(each.offered) for each in tried if not each.failure}
        self.releases[side] = oldest(releases.values())
        return [*judge_reach(side, tried), *judge_versions(side, releases)]

    def _guard(self) -> list[Finding]:
        source, target = (self.clusters[side].cluster_id for side in Side)
        if source == target:
            return [found(FindingId.SAME_CLUSTER, cluster=source)]
        wrong = []
        for side, wanted in zip(Side, (self.manifest.source.cluster_id, self.manifest.target.cluster_id), strict=True):
            try:
                guard_cluster(side, self.clusters[side].cluster_id, wanted=wanted, remembered=None)
            except Refused as error:
                wrong.append(found(FindingId.WRONG_CLUSTER, reason=str(error), remedy=error.hint))
        return wrong

    # -- what lives there

    def _quotas(self, side: Side) -> list[Finding]:
        answer = self.clients[side].any(quota_calls.describe_client_quotas())
        if answer.error:
            return [
                not_examined(f"quotas on the {side}", error_name(answer.error), "grant DESCRIBE_CONFIGS on Cluster")
            ]
        settings = self.reach[side].settings
        told = (Quota(dict(entity), values) for entity, values in answer.quotas.items())
        self.quotas[side] = quotas_for(told, user=self._us(side).user, client_id=settings.client_id)
        return judge_quotas(side, self.quotas[side])

    def _groups(self) -> list[Finding]:
        for side in Side:
            listed: list[ListedGroup] = []
            for broker in self.clusters[side].brokers:
                answer = self.clients[side].broker(broker, offset_calls.list_groups())
                if not answer.error:
                    listed += answer.groups
            self.groups[side] = listed
        return judge_groups(self.groups[Side.SOURCE], self.groups[Side.TARGET], self.manifest.groups.selects)

    # -- rights

    def _cluster(self, side: Side) -> ClusterSettings:
        return self.manifest.source if side is Side.SOURCE else self.manifest.target

    def _us(self, side: Side) -> Principal:
        return principal_of(self._cluster(side).security)

    def _bootstrap(self, side: Side) -> str:
        return ",".join(map(str, self._cluster(side).bootstrap))

    def _rights(self, side: Side, sight: Sight) -> list[Finding]:
        there = self.clusters[side].topics
        wanted = [*sight.seen.selected.topics, *self.hidden]
        subject = Subject(
            side=side,
            existing=[name for name in wanted if name in there],
            hidden=[name for name in self.hidden if name not in there],
            absent=[] if side is Side.SOURCE else self._absent(sight),
            groups=self._group_names(),
            lease_group=lease_group(self.manifest.lease_group, side),
            mirror_topic=self.manifest.mirror_topic,
            release=self.releases[side],
        )
        asking = RightsAsked(self.clients[side], subject, sight.ours)
        us = self._us(side)
        findings = [
            judge_principal(side, us),
            *judge_rights(side, asking.ask(), bootstrap=self._bootstrap(side), principal=us.name),
        ]
        refusals = creation_refusals(asking.validated, _SETTLED_ELSEWHERE)
        for reason, names in refusals.items():
            findings.append(found(FindingId.TOPIC_REFUSED, topics=name_some(names), reason=reason))
        created = [name for name, each in asking.validated.items() if not each.error]
        if created and not refusals:
            findings.append(found(FindingId.TARGET_LIMITS, topics=count_of(len(created), "topic")))
        return findings

    def _group_names(self) -> list[str]:
        """Groups whose offsets are to be carried over: those that are seen, and those that the manifest names."""
        names = list(select_groups(self.groups.get(Side.SOURCE, ()), self.manifest).groups)
        names += [name for name in self.manifest.groups.include if name.replace("-", "").replace("_", "").isalnum()]
        return sorted(set(names))

    def _absent(self, sight: Sight) -> list[NewTopic]:
        """Selected topics that the target does not have, as `run` would create them."""
        limits = TimestampLimits.SPLIT if self.releases[Side.TARGET] >= _SPLIT_LIMITS else TimestampLimits.SINGLE
        broker = describe_broker(
            self.clients[Side.TARGET], next(iter(self.clusters[Side.TARGET].brokers)), [BROKER_MAX_MESSAGE_BYTES]
        )
        return [
            NewTopic(
                name=name,
                partitions=len(sight.seen.source.topics[name].partitions),
                replication_factor=self._replicas(sight, name),
                configs=hold_settings(
                    limits,
                    source_max_bytes=_whole(self.settings.get(name, {}).get("max.message.bytes")),
                    broker_max_bytes=_whole(broker.get(BROKER_MAX_MESSAGE_BYTES)),
                ),
            )
            for name in sight.seen.selected.topics
            if name not in self.clusters[Side.TARGET].topics
        ]

    def _replicas(self, sight: Sight, name: TopicName) -> int:
        there = self.clusters[Side.TARGET].topics.get(name) or sight.seen.source.topics[name]
        replicas = max((len(part.replicas) for part in there.partitions.values()), default=1)
        if name in self.clusters[Side.TARGET].topics:
            return replicas
        return decide_replication_factor(
            self.manifest.replication_factor, replicas, len(self.clusters[Side.TARGET].brokers)
        )

    # -- topics

    def _read_settings(self, sight: Sight) -> list[Finding]:
        self.settings = describe_topics(self.clients[Side.SOURCE], sight.seen.selected.topics, _TOPIC_KEYS)
        topics = {name: TopicFacts.of(told) for name, told in self.settings.items()}
        return judge_tombstones(tombstones_kept_ms(topics), self.releases[Side.SOURCE])

    def _look_for_hidden(self, sight: Sight) -> list[Finding]:
        self.hidden = hidden_topics(self.clients[Side.SOURCE], sight.seen)
        return []

    def _topics(self, sight: Sight) -> list[Finding]:
        source, target = self.clients[Side.SOURCE], self.clients[Side.TARGET]
        seen, names = sight.seen, sight.seen.selected.topics
        findings = judge_selection(seen, self.hidden)
        findings += judge_replication(self.manifest, seen)
        findings += judge_collisions(names, list(seen.target.topics))
        findings += judge_sizes(len(seen.source.brokers), len(seen.target.brokers))
        findings += _attempt(
            "existing topics of the target",
            lambda: check_existing(self.manifest, seen, source, target, self.reach[Side.TARGET].settings, sight.ours),
        )
        return findings + _attempt("limits of the target's brokers", lambda: self._limits(sight))

    def _limits(self, sight: Sight) -> list[Finding]:
        told: dict[BrokerId, Mapping[str, str]] = {}
        for broker in self.clusters[Side.TARGET].brokers:
            settings = describe_broker(self.clients[Side.TARGET], broker, [_SOCKET_BYTES, _MIN_INSYNC])
            if not settings:
                return [not_examined("limits of the target's brokers", "they may not be read", "DESCRIBE_CONFIGS")]
            told[broker] = settings
        largest = {
            name: int(each["max.message.bytes"]) for name, each in self.settings.items() if "max.message.bytes" in each
        }
        limits = [int(each[_SOCKET_BYTES]) for each in told.values() if _SOCKET_BYTES in each]
        least = max((int(each[_MIN_INSYNC]) for each in told.values() if _MIN_INSYNC in each), default=1)
        factors = {name: self._replicas(sight, name) for name in sight.seen.selected.topics}
        return [*judge_batches(largest, min(limits, default=None)), *judge_min_insync(least, factors)]

    # -- what it weighs, and clocks

    def _weigh(self, surveyor: Surveyor, sight: Sight) -> list[Finding]:
        facts = surveyor.facts(sight)
        plan = make_plan(self.manifest, facts, ())
        findings = [found(FindingId.CLASS_IMPOSSIBLE, reason=each.what, remedy=each.hint) for each in plan.blockers]
        source, target = self.clients[Side.SOURCE], self.clients[Side.TARGET]
        bootstrap = self._bootstrap(Side.SOURCE)
        findings += _attempt("open transactions", lambda: examine_transactions(source, facts, bootstrap))
        weights = Weights(
            plan=plan,
            loads=read_loads(source, sight.seen.source, facts, self.manifest.sizes.source_bytes),
            replicas={name: self._replicas(sight, name) for name in sight.seen.selected.topics},
            rate=copy_rate(self.manifest, self.clusters, self.quotas),
        )
        retentions = {name: retention_of(told) for name, told in self.settings.items() if "retention.ms" in told}
        findings += judge_retention(retentions, weights.loads, weights.rate)
        return findings + _attempt(
            "room on disks", lambda: examine_room(target, sight.seen.target, weights, self.manifest)
        )

    def _clock(self, side: Side) -> list[Finding]:
        """By what is written to the source's topics, or by its controller; nobody writes to the target's yet."""
        settings = self.settings if side is Side.SOURCE else {}
        stamped = [name for name, told in settings.items() if told.get(_TIMESTAMP_TYPE) == "LogAppendTime"]
        why = "no topic there is known to have LogAppendTime"
        if stamped:
            stamps = read_stamps(self.clients[side], self.clusters[side], stamped)
            if stamps:
                return [judge_clock(side, stamps, "")]
            why = "nothing was written to topics with LogAppendTime meanwhile"
        told = read_controller_stamp(self.clients[side])
        if isinstance(told, str):
            return [judge_clock(side, (), f"{why}, and its controller does not tell the time ({told})")]
        return [judge_clock(side, [told], "", whose="its controller's clock")]


def _attempt(what: str, judge: Judge) -> list[Finding]:
    """The findings of one examination; one that fails is told as such."""
    try:
        return judge()
    except KmigrateError as error:
        return [not_examined(what, str(error), error.hint)]


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
