"""`plan` shows what was seen in the form that was asked for, and its exit code says what follows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml
from rich.console import Console

from kmigrate.cli.plan_screen import plan_csv, plan_screen
from kmigrate.errors import Blocked
from kmigrate.manifest import Ending, History, Manifest, Offsets, Scheme, WaveWish
from kmigrate.plan.document import PlanDocument, make_plan
from kmigrate.plan.facts import Facts, PartitionFacts, TargetContent
from kmigrate.plan.waves import WavePlan, plan_cutover
from kmigrate.preflight.findings import Finding
from kmigrate.runner import survey
from kmigrate.schemes.page import example
from tests.unit.plan.known import COMPACTED, facts, manifest, partition, seen

from .conftest import World

Show = Callable[..., None]

LONG = "a-topic-with-a-name.that.is-much-longer-than-it-should-be.in-any-cluster.v2"
SOME = (
    partition("kv", gaps=600, census=seen(500, 200, stands_for=1000, transactional_batches=3)),
    partition("orders", start=5_000_000_000, end=5_000_001_000),
    partition("orders", 1, size_bytes=3_400_000_000),
    partition(LONG, start=20),
)


@pytest.fixture
def sees(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Puts facts in the place of two clusters."""

    def see(*partitions: PartitionFacts, findings: list[Finding] | None = None) -> None:
        def look(wanted: Manifest, tell: Callable[[str], None]) -> survey.Survey:
            assert wanted.name == "orders"
            tell("looking")
            return survey.Survey(seen_facts(*partitions), findings or [])

        monkeypatch.setattr(survey, "survey", look)

    return see


def seen_facts(*partitions: PartitionFacts) -> Facts:
    return facts(*partitions, topics={"kv": COMPACTED})


def document(*partitions: PartitionFacts, offsets: Offsets | None = None) -> PlanDocument:
    return make_plan(manifest(offsets), seen_facts(*partitions), [])


def screen(plan: PlanDocument, width: int, *, each_partition: bool = False) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(plan_screen(plan, width, each_partition=each_partition), crop=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# -- the command -------------------------------------------------------------------------------------------------------


def test_a_plan_is_shown_and_leaves_nothing(world: World, sees: Show) -> None:
    sees(*SOME)
    result = world.call("plan")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("orders  plan  4 partitions in 3 topics: 3 identical, 1 shifted\n")
    assert result.stderr == ""
    assert not world.folder.exists()
    assert world.owner.calls == []


def test_every_form_tells_the_same(world: World, sees: Show) -> None:
    sees(*SOME)
    told = json.loads(world.call("plan", "-o", "json").stdout)
    assert (told["kind"], told["totals"]["partitions"]) == ("Plan", 4)
    assert yaml.safe_load(world.call("plan", "-o", "yaml").stdout) == told
    rows = list(csv.DictReader(io.StringIO(world.call("plan", "-o", "csv").stdout)))
    assert [(row["topic"], int(row["partition"]), row["offsetClass"]) for row in rows] == [
        (each["topic"], each["partition"], each["offsetClass"]) for each in told["partitions"]
    ]
    assert (rows[0]["formats"], rows[0]["compacted"], rows[0]["targetEnd"]) == ("v2", "True", "")
    wide = world.call("plan", "-o", "wide").stdout.splitlines()
    for row in rows:
        (line,) = [line for line in wide if line.startswith(f"{row['topic']}-{row['partition']} ")]
        assert line.split()[1:3] == [row["action"], row["offsetClass"]]


@pytest.mark.parametrize(
    ("known", "code"),
    [
        (partition(), 3),
        (partition(target=TargetContent.OURS, target_end=5), 3),
        (partition(target=TargetContent.OURS, target_end=1000), 0),
    ],
)
def test_the_detailed_exit_code_says_whether_something_is_to_do(
    world: World, sees: Show, known: PartitionFacts, code: int
) -> None:
    sees(known)
    assert world.call("plan", "--detailed-exitcode").exit_code == code
    assert world.call("plan").exit_code == 0


@pytest.mark.parametrize("output", ["table", "json"])
def test_blockers_end_with_4_after_the_plan_was_shown(world: World, sees: Show, output: str) -> None:
    world.file.write_text(world.file.read_text() + "  offsets: {class: identical}\n")
    sees(*SOME)
    result = world.call("plan", "--detailed-exitcode", "-o", output)
    assert result.exit_code == 4
    assert "topic orders cannot be identical in 1 partition; orders-0" in result.stderr
    assert "hint: raise offsets.padBudget" in result.stderr
    assert "more filler than padBudget" in result.stdout
    if output == "json":
        assert len(json.loads(result.stdout)["blockers"]) == 1


def test_clusters_that_do_not_answer_end_with_4(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(wanted: Manifest, tell: object) -> survey.Survey:
        raise Blocked("source cluster: connection refused")

    monkeypatch.setattr(survey, "survey", refuse)
    result = world.call("plan")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "connection refused" in result.stderr


def test_what_cannot_be_meant_is_refused_with_the_line(world: World) -> None:
    mapped = "  source:\n    addressMap: {'10.0.0.7': 'nat:19092'}\n"
    world.file.write_text(world.file.read_text().replace("  source:\n", mapped))
    result = world.call("plan")
    assert result.exit_code == 2
    assert "addressMap: '10.0.0.7' is not host:port" in result.stderr


# -- the screen --------------------------------------------------------------------------------------------------------


def test_the_folded_table_fits_80_columns_and_names_reasons_and_content() -> None:
    shown = screen(document(*SOME), 80)
    assert max(map(len, shown.splitlines())) <= 80
    (kv,) = [line for line in shown.splitlines() if line.startswith("kv ")]
    assert kv.split() == ["kv", "1", "identical", "0", "600", "100", "kB", "0s"]
    assert "  no filler needed, gaps are filled  [v2 compacted transactions]" in shown
    assert "  more filler than padBudget; no gaps  [v2]" in shown
    assert "3.40 GB" in shown
    assert "note: markers in 1 partition (kv-0) carry the time of copying" in shown
    assert "left out: __consumer_offsets (an internal topic)" in shown


def test_on_a_wide_terminal_reasons_stand_beside_the_numbers() -> None:
    rows = screen(document(*SOME), 200).splitlines()
    (kv,) = [row for row in rows if row.startswith("kv ")]
    assert kv.endswith("0s  no filler needed, gaps are filled  [v2 compacted transactions]")
    assert rows[5].endswith("Why, and what was found")


def test_each_partition_has_one_line_however_long() -> None:
    rows = screen(document(*SOME), 80, each_partition=True).splitlines()
    lines = [row for row in rows if row.startswith(("kv-", "orders-", LONG))]
    assert len(lines) == len(SOME)
    assert lines[0].split()[:10] == ["kv-0", "create", "identical", "0", "0", "1000", "-", "0", "600", "600~"]
    assert "shifted" in lines[1]
    assert lines[3].startswith(f"{LONG}-0  create")


def test_what_is_not_known_shows_as_such() -> None:
    shown = screen(document(partition("t", unseen="it has no leader now")), 80)
    (row,) = [line for line in shown.splitlines() if line.startswith("t ")]
    assert row.split()[:3] == ["t", "1", "?"]
    assert "  it has no leader now" in shown
    wide = screen(document(partition("t", unseen="it has no leader now")), 80, each_partition=True)
    (line,) = [row for row in wide.splitlines() if row.startswith("t-0")]
    assert line.split()[2:5] == ["?", "?", "?"]


def test_a_plan_of_nothing_has_no_table() -> None:
    empty = document()
    assert "0 partitions in 0 topics" in screen(empty, 80)
    assert "Topic" not in screen(empty, 80)
    assert plan_csv(empty) == "topic,partition\n"


# -- the cutover -------------------------------------------------------------------------------------------------------


def wave(scheme: Scheme, variant: str) -> WavePlan:
    example_wave = example(scheme, variant)
    (found,) = plan_cutover([WaveWish(name="example", scheme=scheme)], [example_wave]).waves
    return found


def wave_screen(*waves: WavePlan, width: int = 120, each_partition: bool = False) -> list[str]:
    plan = make_plan(manifest(), seen_facts(), [], (), waves)
    return [line.rstrip() for line in screen(plan, width, each_partition=each_partition).splitlines()]


def test_without_a_scheme_the_plan_says_so_in_one_line() -> None:
    assert wave_screen().count("no cutover is planned: the manifest has no scheme") == 1


def test_steps_are_listed_by_number_with_what_cannot_be_undone() -> None:
    lines = wave_screen(wave(Scheme.CONSUMERS_FIRST, Ending.CLEAN))
    head = next(number for number, line in enumerate(lines) if line.startswith("wave example"))
    assert lines[head] == (
        "wave example: consumers-first, ending clean, no fence, with a way back, 2 topics, 2 groups, 3 moves"
    )
    assert lines[head + 1] == "    1 replicate          both clusters agree"
    assert "    5 freeze             wait until bills stand still on the source  [writers wait]" in lines
    assert "    6 promote            hand bills over on the target  [writers wait, approval]" in lines
    assert any(line.startswith("  cannot be undone, once left 6, 10: the first record") for line in lines)
    assert "the manifest has no scheme" not in "\n".join(lines)


def test_of_many_steps_the_first_are_shown_unless_everything_is_asked_for() -> None:
    one = wave(Scheme.CONSUMERS_FIRST, Ending.CLEAN)
    many = replace(one, steps=tuple(replace(one.steps[0], number=number) for number in range(1, 51)))
    assert "  … and 20 more steps (-o wide shows them)" in wave_screen(many)
    assert sum("both clusters agree" in line for line in wave_screen(many, each_partition=True, width=200)) == 50


def test_a_wave_that_cannot_be_led_says_so() -> None:
    broken = replace(wave(Scheme.PRODUCERS_LATER, History.ROLLING), steps=(), way_back=False)
    lines = wave_screen(broken)
    assert any(
        line.startswith("wave example: producers-later, history rolling, no fence, no way back") for line in lines
    )
    assert "  its scheme cannot lead it" in lines
