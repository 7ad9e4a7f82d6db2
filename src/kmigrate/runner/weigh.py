"""What the backlog weighs: how long the copy takes, what arrives meanwhile, and what disks and retention say to it.

Rule: a number that rests on an assumption is told with it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.plan.document import PlanDocument
from kmigrate.plan.estimates import Rates, estimate_bytes
from kmigrate.plan.facts import Facts, PartitionFacts
from kmigrate.preflight.bounds import Bounds, Unseen, read_bounds
from kmigrate.preflight.findings import Finding, found, name_some, not_examined
from kmigrate.preflight.gauges import read_disks
from kmigrate.preflight.loss import CopyRate, Load, Retention
from kmigrate.preflight.neighbours import Quota, quota_rate
from kmigrate.preflight.registry import FindingId
from kmigrate.preflight.room import Demand, judge_room
from kmigrate.runner import transaction_observer
from kmigrate.runner.open_transactions import NOT_NAMED
from kmigrate.runner.status import OpenTransaction
from kmigrate.wire.calls import ClusterMetadata
from kmigrate.words import count_of

LAST_HOUR_MS = 3_600_000
_ASSUMED = "assumed rate"


def copy_rate(
    manifest: Manifest, clusters: Mapping[Side, ClusterMetadata], quotas: Mapping[Side, Sequence[Quota]]
) -> CopyRate:
    """The rate that is counted with: the least of the limit, the quotas, and what is assumed."""
    limit = manifest.limits.bytes_per_second
    brokers = {side: len(each.brokers) for side, each in clusters.items()}
    rates = Rates.of(target_brokers=brokers[Side.TARGET], workers=manifest.workers or 1, limit=limit)
    candidates = [(float(rates.copied_bytes), _ASSUMED if limit is None else "limits.bytesPerSecond")]
    for side in Side:
        allowed = quota_rate(side, quotas[side], brokers[side])
        if allowed:
            candidates.append((allowed, f"quota on the {side}"))
    bytes_per_second, basis = min(candidates)
    shown = f"at {bytes_per_second / 1e6:.3g} MB/s, {basis}"
    return CopyRate(bytes_per_second=bytes_per_second, basis=shown, is_set=basis != _ASSUMED)


def read_loads(
    source: ClusterClient, metadata: ClusterMetadata, facts: Facts, declared_bytes: int | None
) -> dict[TopicPartition, Load]:
    """What of each partition is to be copied, and what arrived there in the last hour.

    `declared_bytes` of all partitions together count, in equal parts, where a size is neither told nor estimated.
    """
    at_ms = time.time_ns() // 1_000_000 - LAST_HOUR_MS
    hour_ago = read_bounds(source, metadata, [each.partition for each in facts.partitions], at_ms)
    sizes = {each.partition: estimate_bytes(each) for each in facts.partitions}
    if declared_bytes is not None and None in sizes.values():
        sizes = dict.fromkeys(sizes, declared_bytes // max(1, len(sizes)))
    return {
        each.partition: Load(
            size_bytes=sizes[each.partition],
            ingress_bytes_per_second=decide_ingress(each, sizes[each.partition], hour_ago[each.partition]),
        )
        for each in facts.partitions
    }


def decide_ingress(facts: PartitionFacts, size_bytes: int | None, hour_ago: Bounds | Unseen) -> float | None:
    """Bytes that arrive in a second: offsets of the last hour, each as large as the others."""
    if not isinstance(hour_ago, Bounds) or size_bytes is None:
        return None
    if hour_ago.at_time is None or not facts.backlog:
        return 0.0
    offsets = max(0, hour_ago.last_stable - hour_ago.at_time)
    return offsets * size_bytes / facts.backlog / (LAST_HOUR_MS / 1000)


def retention_of(told: Mapping[str, str]) -> Retention:
    """How long a topic with these settings keeps records."""
    if "delete" not in told.get("cleanup.policy", "delete"):
        return Retention(ms=None, bytes=None)
    return Retention(ms=_limit(told.get("retention.ms")), bytes=_limit(told.get("retention.bytes")))


def _limit(text: str | None) -> int | None:
    return None if text is None or int(text) < 0 else int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Everything that the room on disks is judged by; `replicas` are those that topics have or get on the target."""

    plan: PlanDocument
    loads: Mapping[TopicPartition, Load]
    replicas: Mapping[TopicName, int]
    rate: CopyRate

    @property
    def copy_seconds(self) -> float:
        return sum(load.size_bytes or 0 for load in self.loads.values()) / self.rate.bytes_per_second

    @property
    def demand(self) -> Demand:
        """What comes to the target, replicas included."""
        of = self.replicas
        return Demand(
            history_bytes=sum((load.size_bytes or 0) * of[tp.topic] for tp, load in self.loads.items()),
            ingress_bytes_per_second=sum(
                (load.ingress_bytes_per_second or 0.0) * of[tp.topic] for tp, load in self.loads.items()
            ),
            filler=sum(each.filler * of[TopicName(each.topic)] for each in self.plan.partitions),
            markers=sum((each.markers or 0) * of[TopicName(each.topic)] for each in self.plan.partitions),
        )


def examine_room(
    target: ClusterClient, metadata: ClusterMetadata, weights: Weights, manifest: Manifest
) -> list[Finding]:
    """Whether the target's disks hold what comes."""
    unknown = sorted(str(tp) for tp, load in weights.loads.items() if load.size_bytes is None)
    if unknown:
        reason = f"the size of {count_of(len(unknown), 'partition')} ({name_some(unknown)}) is not known"
        return [not_examined("room on disks", reason, "declare spec.sizes.sourceBytes in the manifest")]
    brokers = sorted(metadata.brokers)
    return judge_room(
        read_disks(target, brokers),
        manifest.sizes.target_free_bytes,
        brokers,
        weights.demand,
        copy_seconds=weights.copy_seconds,
        left_free=manifest.limits.target_free_percent / 100,
    )


def examine_transactions(source: ClusterClient, facts: Facts, bootstrap: str) -> list[Finding]:
    """Which transactions hold partitions of the source back, and which of them nobody will end."""
    held = {each.partition: each.last_stable for each in facts.partitions if each.last_stable < each.high_watermark}
    if not held:
        return [found(FindingId.TRANSACTIONS)]
    answers, trouble = transaction_observer.ask(source, held)
    findings = [_judge_open(tp, each, bootstrap) for tp, each in answers.items() if each is not None]
    if trouble:
        findings.append(not_examined("some open transactions", trouble))
    return findings or [found(FindingId.TRANSACTIONS)]


def _judge_open(partition: TopicPartition, each: OpenTransaction, bootstrap: str) -> Finding:
    if not each.hanging and each.note != NOT_NAMED:
        return found(
            FindingId.TRANSACTION_OPEN,
            partition=partition,
            offset=each.first_offset,
            producer=each.producer_id,
            reason=each.note or f"{each.transactional_id}, {each.state}, time-out {each.timeout_ms} ms",
        )
    command = (
        f"kafka-transactions.sh --bootstrap-server {bootstrap} abort --topic {partition.topic}"
        f" --partition {partition.partition} --start-offset {each.first_offset}"
    )
    return found(
        FindingId.TRANSACTION_HANGING,
        partition=partition,
        offset=each.first_offset,
        producer=each.producer_id,
        reason=each.note or f"its coordinator says {each.state}, without this partition",
        command=command if each.hanging else f"if no program is writing it: {command}",
    )
