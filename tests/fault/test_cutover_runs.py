"""Every scheme, again and again with other timing: nothing lost, nothing twice, and in order where that is promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fault.cells import Cell, cells
from tests.fault.harness import Migration, closing_all, wait_until
from tests.kafka_tools import new_topic_name
from tests.scenario.leading import QUICK, Lead, Operator, Service

pytestmark = pytest.mark.broker

SCHEMES: list[tuple[dict[str, Any], bool]] = [
    ({"scheme": "consumers-first"}, True),
    ({"scheme": "producers-first", "history": "stopped"}, True),
    ({"scheme": "producers-later"}, False),
    ({"scheme": "consumers-first", "ending": "overlap"}, False),
    ({"scheme": "consumers-first"}, True),
    ({"scheme": "producers-first", "history": "rolling"}, True),
    ({"scheme": "producers-later"}, False),
    ({"scheme": "consumers-first", "ending": "overlap"}, False),
]
"""What the manifest says, and whether that keeps the order of each partition: each scheme twice, and each ending."""
RUNS = 20


@cells(long=RUNS * len(SCHEMES) // 2, sample=1)
def test_a_scheme_moves_a_service_whatever_the_timing(cell: Cell, tmp_path: Path, service: Service) -> None:
    scheme, in_order = cell.pick(SCHEMES)
    cell.note("scheme", " ".join(scheme.values()))
    spec = {**scheme, "groups": {"include": [service.group]}, "cutover": QUICK}
    migration = Migration(
        tmp_path, service.source, service.target, [service.topic], name=new_topic_name("moves"), spec=spec
    )
    with closing_all([migration]):
        migration.start()
        migration.wait_for_state("IN_SYNC")
        operator = Operator(Lead(migration), service, hesitate=lambda: cell.chance.uniform(0.0, 1.5))
        operator.go_on()
        assert operator.lead.status()["outcome"] == "finished", operator.lead.evidence()
        service.judge(in_order=in_order)
        wait_until("the hold is lifted", lambda: migration.status()["held"] == [])
        compared = migration.command("verify")
        assert compared.returncode == 0, f"what applications wrote since is no difference\n{compared.stdout}"
        cell.note("records", len(service.writer.acknowledged))
