"""A cutover is taken back: before the first record on the target, and after it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import LIVENESS_SECONDS, wait_until
from tests.scenario.leading import QUICK, Lead, Operator, Service, Start, Writer, running, starting

pytestmark = pytest.mark.broker


@pytest.fixture
def service(source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[Service]:
    with running(Service(source_cluster, target_cluster)) as made:
        yield made


@pytest.fixture
def start(tmp_path: Path, service: Service) -> Iterator[Start]:
    with starting(tmp_path, service) as begin:
        yield begin


def test_an_abort_leaves_everything_as_it_was(start: Start, service: Service) -> None:
    lead = start("consumers-first")
    operator = Operator(lead, service)
    operator.go_on(until="start-writers")
    wait_until("the hold is lifted", lambda: lead.migration.status()["held"] == [])
    operator.abort(at="start-writers")
    wait_until("the hold is back", lambda: lead.migration.status()["held"] == [service.topic])
    lead.migration.wait_for_growth()
    service.judge()


def test_a_rollback_brings_everything_back(start: Start, service: Service) -> None:
    lead = start("consumers-first")
    operator = Operator(lead, service)
    operator.go_on(until="stop-readers")
    assert lead.next() == 5, "nobody has stopped the readers yet"
    assert "readers-stopped" in lead.said.stderr
    operator.go_on(until="watch")
    before = len(service.writer.acknowledged)
    wait_until("the target takes records", lambda: len(service.writer.acknowledged) > before + 300)
    assert lead.next(command="abort") == 5, "what was written to the target would be lost"
    assert lead.next(command="rollback") == 0, lead.said.stderr
    operator.go_on()
    assert lead.status()["outcome"] == "rolled back"
    service.judge()
    wait_until("the hold is lifted", lambda: lead.migration.status()["held"] == [])


def test_clients_that_do_not_do_as_they_are_told_are_noticed_and_named(start: Start, service: Service) -> None:
    lead = start("consumers-first", wayBack=False, cutover=QUICK | {"freezeSeconds": 12})
    operator = Operator(lead, service)
    operator.go_on(until="stop-readers")
    service.reader.stop()
    lead.leave("stop-readers")

    service.newer.start(service.target)
    service.reader.start(service.source)
    wait_until("both are seen", lambda: any("members on both clusters" in each for each in lead.status()["warnings"]))
    assert lead.next() == 5
    assert "gone-from-source" in lead.said.stderr
    service.reader.stop()
    operator.acts_no_more("stop-readers", "start-readers")
    operator.go_on(until="stop-writers")

    assert lead.next() == 0, lead.said.stderr
    lead.reach("freeze")
    told = wait_until(
        "writers are free again by themselves",
        lambda: wave if (wave := lead.status())["step"]["name"] == "stop-writers" else None,
        evidence=lead.evidence,
    )
    assert "not done within 12 s" in told["sentence"]

    operator.go_on(until="watch")
    late = Writer(service.topic, service.partitions)
    late.start(service.source)
    wait_until("records come late", lambda: len(late.acknowledged) > 10)
    late.stop()
    wait_until("it is seen", lambda: "late" in " ".join(lead.status()["warnings"]), evidence=lead.evidence)
    assert lead.next(command="finish") == 5
    assert "no-late-records" in lead.said.stderr
    wait_until("they can be listed", lambda: lead.next("--late", "list") == 0, evidence=lead.evidence)
    lead.settle()
    operator.go_on()
    assert lead.status()["outcome"] == "finished"


def test_of_two_operators_who_press_next_at_once_one_wins_and_the_other_is_told(start: Start, service: Service) -> None:
    lead = start("consumers-first", wayBack=False)
    operator = Operator(lead, service)
    for step, command in (("stop-writers", "next"), ("watch", "finish")):
        operator.go_on(until=step)
        if command == "next":
            service.writer.stop()
        wait_until("all but the approval is there", lambda: lead.missing() <= {"approved"}, evidence=lead.evidence)
        ended = _press_at_once(lead, command)
        assert sorted(code for code, _ in ended) == [0, 6], ended
        assert any("somebody was faster" in said or "is finished" in said for _, said in ended), ended
        lead.settle()
    wave = lead.status()
    assert wave["outcome"] == "finished"
    decided = lead.migration.log()
    for step in wave["steps"]:
        assert decided.count(f"left step {step['number']}, {step['name']}") == 1
    for effect in ("capture-commits", "freeze", "copy-tail", "verify-tail", "end-copy", "promote"):
        assert len(re.findall(rf" {effect}( of [^:]+)?: done", decided)) == 1, effect
    service.judge()


def _press_at_once(lead: Lead, command: str) -> list[tuple[int, str]]:
    """Two operators are asked for the migration's name, and type it at the same moment: their exit codes, and what they
    were told."""
    place = ["-f", str(lead.migration.manifest), "--state", str(lead.migration.state_root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    argv = [sys.executable, "-m", "kmigrate", "cutover", command, *place]
    operators = [subprocess.Popen(argv, text=True, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    try:
        for each in operators:  # each has seen where the wave is when it asks
            asked = ""
            while "name to go on" not in asked:
                letter = each.stderr.read(1)
                assert letter, f"it ended without asking: {asked}"
                asked += letter
        for each in operators:
            each.stdin.write(f"{lead.migration.name}\n")
            each.stdin.flush()
        said = [each.communicate(timeout=LIVENESS_SECONDS)[1] for each in operators]
    finally:
        for each in operators:
            each.kill()
            each.wait()
    return list(zip((each.returncode for each in operators), said, strict=True))


def test_a_record_of_an_application_that_comes_too_early_closes_every_gate(start: Start, service: Service) -> None:
    lead = start("consumers-first")
    early = Writer(service.topic, service.partitions)
    early.start(service.target)
    wait_until("records come early", lambda: len(early.acknowledged) > 5)
    early.stop()

    def is_noticed() -> bool:
        return lead.next() == 5 and "FOREIGN_WRITE" in lead.said.stderr

    wait_until("it is noticed and named", is_noticed, evidence=lead.evidence)
    assert lead.status()["step"]["name"] == "replicate"
