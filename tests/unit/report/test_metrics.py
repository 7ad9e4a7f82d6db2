"""Metrics say what the status document says, and docs, board and alerts name only what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kmigrate.copy.spending import Cause
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.groups.values import OutcomeKind
from kmigrate.kafka_types import Offset
from kmigrate.report.metrics import METRICS, metric_families, metrics_table
from kmigrate.runner.cutover.place import WavePlace
from kmigrate.runner.groups_document import GroupLag, GroupsSummary
from kmigrate.runner.status import (
    Flow,
    LatencyStatus,
    MigrationState,
    PartitionStatus,
    StatusDocument,
    StopStatus,
    TopicStatus,
    WorkerStatus,
)
from kmigrate.schemes.cutover import Phase

DOCS = Path(__file__).parents[3] / "docs"
BOARD = (DOCS / "monitoring" / "grafana.json").read_text()
ALERTS = (DOCS / "monitoring" / "alerts.yaml").read_text()
STOPPED = StopStatus.of(Stop(kind=StopKind.FOREIGN_WRITE, offset=Offset(4), evidence="seen"), "orders", 1)
DOCUMENT = StatusDocument(
    name='say "orders"',
    state=MigrationState.RUNNING,
    updated_at=1_760_000_000_500,
    lease_seconds_left=12.5,
    workers=(WorkerStatus(number=0, pid=7, alive=True), WorkerStatus(number=1, pid=None, alive=False)),
    held=("orders",),
    target_full=True,
    throttle_bytes_per_second=900,
    topics=(
        TopicStatus(
            topic="orders",
            partitions=2,
            flow=Flow(records_copied=12, bytes_copied=3400, markers_written=5),
            states={},
            foreign_writes=1,
            latency=LatencyStatus(bounds_seconds=(0.005, 1.0), counts=(3, 2, 1), sum_seconds=7.5),
        ),
    ),
    throttled_seconds={Cause.LIMIT: 2.5},
    waves=(
        WavePlace(
            wave="team", way="forward", phase="waiting", begun=True, step=3, steps=8, name="freeze", seconds=12.5
        ),
    ),
    groups=GroupsSummary(
        groups=3,
        synced=2,
        failed=1,
        differences=4,
        rounds=9,
        round_seconds=0.25,
        lags=(
            GroupLag(group="app", source_lag=12, target_lag=14, offset_gap=2),
            GroupLag(group="new", source_lag=0),
        ),
    ),
    partitions=(
        PartitionStatus(
            topic="orders",
            partition=0,
            state=PartitionState.IN_SYNC,
            source_end=2**62,
            target_end=7,
            lag_records=0,
            lag_seconds=0.25,
            crc_errors=2,
            held_back_records=3,
            loss_seconds=60.0,
        ),
        PartitionStatus(topic="orders", partition=1, state=PartitionState.STOPPED, stop=STOPPED),
    ),
)


class Registry:
    """What prometheus_client renders: anything that collects."""

    def __init__(self, document: StatusDocument) -> None:
        self.document = document

    def collect(self) -> Any:
        return metric_families(self.document)


def read(document: StatusDocument) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels, as Prometheus' own parser reads what is served."""
    text = generate_latest(Registry(document)).decode()  # type: ignore[arg-type]
    labels = {
        name: (*kind.labels, *(["le"] if name.endswith("_bucket") else [])) for kind in METRICS for name in kind.series
    }
    return {
        (sample.name, tuple(sample.labels[label] for label in labels[sample.name])): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_number_of_the_document_is_told_with_its_labels() -> None:
    found = read(DOCUMENT)
    orders = 'say "orders"'
    assert found["kmigrate_replicated_records_total", (orders, "orders")] == 12
    assert found["kmigrate_replicated_bytes_total", (orders, "orders")] == 3400
    assert found["kmigrate_written_markers_total", (orders, "orders")] == 5
    assert found["kmigrate_foreign_writes_total", (orders, "orders")] == 1
    assert found["kmigrate_source_end_offset", (orders, "orders", "0")] == 2**62
    assert found["kmigrate_target_end_offset", (orders, "orders", "0")] == 7
    assert found["kmigrate_lag_records", (orders, "orders", "0")] == 0
    assert found["kmigrate_lag_seconds", (orders, "orders", "0")] == 0.25
    assert found["kmigrate_held_back_records", (orders, "orders", "0")] == 3
    assert found["kmigrate_crc_errors_total", (orders, "orders", "0")] == 2
    assert found["kmigrate_cutover_step", (orders, "team")] == 3
    assert found["kmigrate_cutover_step_seconds", (orders, "team")] == 12.5
    phases = {key[1][2]: value for key, value in found.items() if key[0] == "kmigrate_cutover_phase"}
    assert phases == {phase.value: float(phase is Phase.WAITING) for phase in Phase}
    assert found["kmigrate_updated_timestamp_seconds", (orders,)] == 1_760_000_000.5
    assert found["kmigrate_lease_seconds", (orders,)] == 12.5
    assert found["kmigrate_workers_alive", (orders,)] == 1
    assert found["kmigrate_held_topics", (orders,)] == 1
    assert found["kmigrate_target_full", (orders,)] == 1
    assert found["kmigrate_throttle_bytes_per_second", (orders,)] == 900
    assert found["kmigrate_loss_seconds", (orders, "orders", "0")] == 60
    assert found["kmigrate_stopped_partitions", (orders, "FOREIGN_WRITE")] == 1
    assert found["kmigrate_throttled_seconds_total", (orders, "limit")] == 2.5


def test_the_latency_is_a_histogram() -> None:
    found = read(DOCUMENT)
    name, place = "kmigrate_replication_latency_seconds", ('say "orders"', "orders")
    buckets = {labels[-1]: value for (series, labels), value in found.items() if series == f"{name}_bucket"}
    assert buckets == {"0.005": 3, "1.0": 5, "+Inf": 6}
    assert found[f"{name}_count", place] == 6
    assert found[f"{name}_sum", place] == 7.5


def test_groups_are_told_by_their_outcome_and_their_lag() -> None:
    found = read(DOCUMENT)
    orders = 'say "orders"'
    outcomes = {labels[1]: value for (name, labels), value in found.items() if name == "kmigrate_groups"}
    assert outcomes == {"Synced": 2, "Waiting": 0, "Moved": 0, "Skipped": 0, "Failed": 1}
    assert found["kmigrate_group_differences", (orders,)] == 4
    assert found["kmigrate_group_round_seconds", (orders,)] == 0.25
    lags = {labels[1:]: value for (name, labels), value in found.items() if name == "kmigrate_group_lag_records"}
    assert lags == {("app", "source"): 12, ("app", "target"): 14, ("new", "source"): 0}
    gaps = {labels[1]: value for (name, labels), value in found.items() if name == "kmigrate_group_offset_gap_records"}
    assert gaps == {"app": 2}


def test_states_are_told_by_their_names() -> None:
    found = read(DOCUMENT)
    states = {labels[1]: value for (name, labels), value in found.items() if name == "kmigrate_migration_state"}
    assert states == {each.value: float(each is MigrationState.RUNNING) for each in MigrationState}
    partitions = {labels[2:] for name, labels in found if name == "kmigrate_partition_state"}
    assert partitions == {("0", "IN_SYNC"), ("1", "STOPPED")}


def test_what_is_not_known_has_no_sample() -> None:
    names = {name for name, labels in read(DOCUMENT) if labels[-1] == "1"}
    assert not names & {"kmigrate_lag_records", "kmigrate_lag_seconds", "kmigrate_source_end_offset"}
    empty = read(StatusDocument(name="orders", state=MigrationState.NOT_STARTED))
    assert not {name for name, _ in empty} & {"kmigrate_lease_seconds", "kmigrate_updated_timestamp_seconds"}


def test_every_metric_is_told_of_a_whole_document() -> None:
    assert {name for name, _ in read(DOCUMENT)} == {name for kind in METRICS for name in kind.series}


def test_the_table_in_the_docs_is_the_one_in_the_code() -> None:
    text = (DOCS / "metrics.md").read_text()
    assert f"<!-- metrics -->\n{metrics_table()}\n<!-- /metrics -->" in text


@pytest.mark.parametrize("text", [BOARD, ALERTS], ids=["board", "alerts"])
def test_board_and_alerts_name_only_what_there_is(text: str) -> None:
    named = set(re.findall(r"kmigrate_[a-z_]+", text))
    assert named
    assert named <= {name for kind in METRICS for name in kind.series}


def test_alerts_name_states_that_there_are() -> None:
    kinds = {each.value for each in OutcomeKind}
    assert set(re.findall(r'kmigrate_groups\{outcome="(\w+)"', BOARD + ALERTS)) <= kinds
    known = {
        "kmigrate_migration_state": {each.value for each in MigrationState},
        "kmigrate_partition_state": {each.value for each in PartitionState},
    }
    for name, values in known.items():
        assert set(re.findall(name + r'\{state="([A-Z_]+)"', BOARD + ALERTS)) <= values


def test_every_alert_says_what_to_do() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS)["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["expr"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_the_board_is_whole() -> None:
    board = json.loads(BOARD)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])
