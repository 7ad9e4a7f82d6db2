"""The metrics of a migration, made from its status document.  (pure)

One table says what there is; `docs/metrics.md` is written from it. What is not known has no sample, never a 0. Amounts
count since the owner started: to Prometheus a new owner is a counter that was reset.

Source: https://prometheus.io/docs/instrumenting/writing_clientlibs, and the naming rules there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from kmigrate import __version__
from kmigrate.groups.values import OutcomeKind
from kmigrate.kafka_types import Side
from kmigrate.runner.cutover.place import WavePlace
from kmigrate.runner.groups_document import GroupLag, GroupsSummary
from kmigrate.runner.status import LatencyStatus, MigrationState, PartitionStatus, StatusDocument, TopicStatus
from kmigrate.schemes.cutover import Phase as CutoverPhase
from kmigrate.serve.machine import Phase

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float | LatencyStatus | None]]
_SERIES_OF_HISTOGRAM = ("_bucket", "_count", "_sum")


class MetricKind(NamedTuple):
    """One metric: its name as Prometheus shows it, its labels, what it says, and its samples."""

    name: str
    labels: Labels
    meaning: str
    samples: Callable[[StatusDocument], Samples]
    is_histogram: bool = False

    @property
    def is_counter(self) -> bool:
        return self.name.endswith("_total")

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which queries find it."""
        return tuple(self.name + end for end in _SERIES_OF_HISTOGRAM) if self.is_histogram else (self.name,)


_TOPIC = ("migration", "topic")
_PARTITION = ("migration", "topic", "partition")


def _of_partitions(value: Callable[[PartitionStatus], float | None]) -> Callable[[StatusDocument], Samples]:
    def samples(document: StatusDocument) -> Samples:
        return (((document.name, each.topic, str(each.partition)), value(each)) for each in document.partitions)

    return samples


def _of_topics(value: Callable[[TopicStatus], float | LatencyStatus | None]) -> Callable[[StatusDocument], Samples]:
    return lambda document: (((document.name, each.topic), value(each)) for each in document.topics)


def _of_groups(value: Callable[[GroupLag], float | None]) -> Callable[[StatusDocument], Samples]:
    return lambda document: (((document.name, each.group), value(each)) for each in _groups(document).lags)


def _group_lags(document: StatusDocument) -> Samples:
    for each in _groups(document).lags:
        yield (document.name, each.group, Side.SOURCE.value), each.source_lag
        yield (document.name, each.group, Side.TARGET.value), each.target_lag


def _of_round(value: Callable[[GroupsSummary], float | None]) -> Callable[[StatusDocument], Samples]:
    return lambda document: [((document.name,), None if document.groups is None else value(document.groups))]


def _group_outcomes(document: StatusDocument) -> Samples:
    found = document.groups
    if found is None:
        return
    counts = {
        OutcomeKind.SYNCED: found.synced,
        OutcomeKind.WAITING: found.waiting,
        OutcomeKind.MOVED: found.moved,
        OutcomeKind.SKIPPED: found.skipped,
        OutcomeKind.FAILED: found.failed,
    }
    for kind, count in counts.items():
        yield (document.name, kind.value), float(count)


def _groups(document: StatusDocument) -> GroupsSummary:
    return document.groups or GroupsSummary()


def _throttled(document: StatusDocument) -> Samples:
    return (
        ((document.name, each.value.lower().replace("_", "-")), seconds)
        for each, seconds in document.throttled_seconds.items()
    )


def _of_migration(value: Callable[[StatusDocument], float | None]) -> Callable[[StatusDocument], Samples]:
    return lambda document: [((document.name,), value(document))]


def _states(document: StatusDocument) -> Samples:
    return (((document.name, each.topic, str(each.partition), each.state.value), 1.0) for each in document.partitions)


def _stopped(document: StatusDocument) -> Samples:
    counts: dict[str, int] = {}
    for each in document.partitions:
        if each.stop is not None:
            counts[each.stop.kind.value] = counts.get(each.stop.kind.value, 0) + 1
    return (((document.name, kind), float(count)) for kind, count in sorted(counts.items()))


def _of_waves(value: Callable[[WavePlace], float]) -> Callable[[StatusDocument], Samples]:
    return lambda document: (((document.name, each.wave), value(each)) for each in document.waves)


def _phases(document: StatusDocument) -> Samples:
    return (
        ((document.name, each.wave, phase.value), float(each.phase == phase.value))
        for each in document.waves
        for phase in CutoverPhase
    )


METRICS: tuple[MetricKind, ...] = (
    MetricKind(
        "kmigrate_build_info",
        ("version",),
        "Always 1; the label says which version runs.",
        lambda _document: [((__version__,), 1.0)],
    ),
    MetricKind(
        "kmigrate_migration_state",
        ("migration", "state"),
        "1 for the state that the migration is in, 0 for every other.",
        lambda document: (((document.name, each.value), float(document.state is each)) for each in MigrationState),
    ),
    MetricKind(
        "kmigrate_updated_timestamp_seconds",
        ("migration",),
        "When what is told here was last brought up to date, in seconds since the epoch.",
        _of_migration(lambda document: None if document.updated_at is None else document.updated_at / 1000),
    ),
    MetricKind(
        "kmigrate_lease_seconds",
        ("migration",),
        "For how long the right to write still lasts if it is not renewed.",
        _of_migration(lambda document: document.lease_seconds_left),
    ),
    MetricKind(
        "kmigrate_workers_alive",
        ("migration",),
        "Worker processes that run.",
        _of_migration(lambda document: float(sum(worker.alive for worker in document.workers))),
    ),
    MetricKind(
        "kmigrate_target_full",
        ("migration",),
        "1 while nothing is written because the target's disks are full.",
        _of_migration(lambda document: float(document.target_full)),
    ),
    MetricKind(
        "kmigrate_throttle_bytes_per_second",
        ("migration",),
        "The limit that is in force, if there is one.",
        _of_migration(lambda document: document.throttle_bytes_per_second),
    ),
    MetricKind(
        "kmigrate_held_topics",
        ("migration",),
        "Target topics that are under hold: they do not have their intended settings yet.",
        _of_migration(lambda document: float(len(document.held))),
    ),
    MetricKind(
        "kmigrate_replicated_records_total",
        _TOPIC,
        "Records copied.",
        _of_topics(lambda each: each.flow.records_copied),
    ),
    MetricKind(
        "kmigrate_replicated_bytes_total",
        _TOPIC,
        "Bytes of record batches copied, as they were sent.",
        _of_topics(lambda each: each.flow.bytes_copied),
    ),
    MetricKind(
        "kmigrate_written_markers_total",
        _TOPIC,
        "Markers written for source offsets without a visible record.",
        _of_topics(lambda each: each.flow.markers_written),
    ),
    MetricKind(
        "kmigrate_foreign_writes_total",
        _TOPIC,
        "How often a partition stopped because somebody else wrote to it on the target.",
        _of_topics(lambda each: each.foreign_writes),
    ),
    MetricKind(
        "kmigrate_partition_state",
        ("migration", "topic", "partition", "state"),
        "1 for the state that a partition is in; there is no sample for others.",
        _states,
    ),
    MetricKind(
        "kmigrate_stopped_partitions",
        ("migration", "kind"),
        "Partitions that stopped, waived ones too, by the name of the stop.",
        _stopped,
    ),
    MetricKind(
        "kmigrate_lag_records",
        _PARTITION,
        "Source offsets below the readable end that are not copied yet.",
        _of_partitions(lambda each: each.lag_records),
    ),
    MetricKind(
        "kmigrate_lag_seconds",
        _PARTITION,
        "How far the copy is behind in time: the age of what was copied last, 0 where nothing is left.",
        _of_partitions(lambda each: each.lag_seconds),
    ),
    MetricKind(
        "kmigrate_held_back_records",
        _PARTITION,
        "Source offsets above what can be read: open transactions, followers that are behind.",
        _of_partitions(lambda each: each.held_back_records),
    ),
    MetricKind(
        "kmigrate_source_end_offset",
        _PARTITION,
        "The readable end of the source's log.",
        _of_partitions(lambda each: each.source_end),
    ),
    MetricKind(
        "kmigrate_target_end_offset",
        _PARTITION,
        "The end of the target's log as far as it is proven.",
        _of_partitions(lambda each: each.target_end),
    ),
    MetricKind(
        "kmigrate_loss_seconds",
        _PARTITION,
        "How long until the source deletes what is not copied yet, where that is in sight.",
        _of_partitions(lambda each: each.loss_seconds),
    ),
    MetricKind(
        "kmigrate_replication_latency_seconds",
        _TOPIC,
        "How old batches were when the target had acknowledged them, by the newest timestamp in each (a histogram).",
        _of_topics(lambda each: each.latency),
        is_histogram=True,
    ),
    MetricKind(
        "kmigrate_throttled_seconds_total",
        ("migration", "reason"),
        "How long pipelines waited for the operator's limit or a broker's quota, all of them together.",
        _throttled,
    ),
    MetricKind(
        "kmigrate_groups",
        ("migration", "outcome"),
        "Consumer groups, by what became of their commits.",
        _group_outcomes,
    ),
    MetricKind(
        "kmigrate_group_differences",
        ("migration",),
        "Partitions of groups whose commit on the target is not, or not yet, what the source's translates to.",
        _of_round(lambda found: float(found.differences)),
    ),
    MetricKind(
        "kmigrate_group_round_seconds",
        ("migration",),
        "How long the last round over all groups took.",
        _of_round(lambda found: found.round_seconds),
    ),
    MetricKind(
        "kmigrate_group_lag_records",
        ("migration", "group", "side"),
        "What a group has left to read on each side, counted from its commits.",
        _group_lags,
    ),
    MetricKind(
        "kmigrate_group_offset_gap_records",
        ("migration", "group"),
        "How much more that is from the group's commits on the target: 0 where they are the exact translation.",
        _of_groups(lambda each: each.offset_gap),
    ),
    MetricKind(
        "kmigrate_cutover_step",
        ("migration", "wave"),
        "The number of the step that a wave is at, from 1 on, on the way forward or back.",
        _of_waves(lambda each: float(each.step)),
    ),
    MetricKind(
        "kmigrate_cutover_phase",
        ("migration", "wave", "phase"),
        "1 for what is done at that step, 0 for everything else: see docs/cutover.md.",
        _phases,
    ),
    MetricKind(
        "kmigrate_cutover_step_seconds",
        ("migration", "wave"),
        "For how long the wave has been at that step.",
        _of_waves(lambda each: each.seconds),
    ),
    MetricKind(
        "kmigrate_crc_errors_total",
        _PARTITION,
        "Batches that came damaged from the source.",
        _of_partitions(lambda each: float(each.crc_errors)),
    ),
)
"""Everything that is told, in the order in which it is told."""

SERVED = "kmigrate_served"
SERVED_MEANING = "1 for what serve is doing about a migration that it holds, 0 for everything else."
RESTARTS = "kmigrate_owner_restarts_total"
RESTARTS_MEANING = "How often an owner was started again because the last one had ended."


def metric_families(*documents: StatusDocument) -> Iterator[Metric]:
    """The metrics of these migrations, as prometheus_client renders them: each metric once, with all samples."""
    for kind in METRICS:
        samples = {labels: value for each in documents for labels, value in kind.samples(each)}
        yield _histogram(kind, samples) if kind.is_histogram else _family(kind, samples)


def service_families(held: Iterable[tuple[str, Phase | None, int]]) -> Iterator[Metric]:
    """What serve does about the migrations that it holds: name, phase and restarts of each."""
    phase = GaugeMetricFamily(SERVED, SERVED_MEANING, labels=("migration", "phase"))
    restarts = CounterMetricFamily(RESTARTS, RESTARTS_MEANING, labels=("migration",))
    for name, at, number in held:
        restarts.add_metric([name], number)
        for one in Phase:
            phase.add_metric([name, one.value], float(at is one))
    yield phase
    yield restarts


def _family(kind: MetricKind, samples: Mapping[Labels, float | LatencyStatus | None]) -> Metric:
    family_of = CounterMetricFamily if kind.is_counter else GaugeMetricFamily
    family = family_of(kind.name, kind.meaning, labels=kind.labels)
    for labels, value in samples.items():
        if value is not None and not isinstance(value, LatencyStatus):
            family.add_metric(list(labels), value)
    return family


def _histogram(kind: MetricKind, samples: Mapping[Labels, float | LatencyStatus | None]) -> Metric:
    family = HistogramMetricFamily(kind.name, kind.meaning, labels=kind.labels)
    for labels, value in samples.items():
        if isinstance(value, LatencyStatus):
            family.add_metric(list(labels), buckets=_buckets(value), sum_value=value.sum_seconds)
    return family


def _buckets(latency: LatencyStatus) -> list[tuple[str, float]]:
    """What is at most as old as each bound, as histograms are told."""
    bounds = [*map(floatToGoString, latency.bounds_seconds), "+Inf"]
    return [*zip(bounds, map(float, accumulate(latency.counts)), strict=False)]


def metrics_table() -> str:
    """Every metric, for docs/metrics.md."""
    rows = ["| Metric | Labels | Says |", "|---|---|---|"]
    for kind in METRICS:
        rows.append(f"| `{kind.name}` | {', '.join(f'`{label}`' for label in kind.labels)} | {kind.meaning} |")
    return "\n".join(rows)


def service_metrics_table() -> str:
    """Serve's own metrics, for docs/metrics.md."""
    rows = ["| Metric | Labels | Says |", "|---|---|---|"]
    rows.append(f"| `{SERVED}` | `migration`, `phase` | {SERVED_MEANING} |")
    rows.append(f"| `{RESTARTS}` | `migration` | {RESTARTS_MEANING} |")
    return "\n".join(rows)
