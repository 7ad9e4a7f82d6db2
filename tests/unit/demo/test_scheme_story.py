"""The demo of a scheme ends with 0 only if the verdict is what that scheme promises."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kmigrate.demo.narrator import Narrator
from kmigrate.demo.scheme_story import SERVICE, conclude, manifest_text
from kmigrate.demo.service.judge import GroupVerdict, ProducerVerdict, Verdict
from kmigrate.demo.service.plans import ServiceSpec
from kmigrate.demo.service.promise import Promise
from kmigrate.demo.service.table import print_verdict
from kmigrate.demo.story import DIFFERENCE_FOUND
from kmigrate.kafka_types import Side
from kmigrate.manifest.loader import load_manifest
from kmigrate.manifest.model import Scheme


def verdict(**wrong: Any) -> Verdict:
    good: dict[str, Any] = {
        "group": "shop",
        "expected": 1_300,
        "processed": 1_300,
        "by_side": {Side.SOURCE: 1_000, Side.TARGET: 300},
        "lost": 0,
        "repeated": 0,
        "out_of_order": 0,
        "unacknowledged": 0,
        "longest_pause_seconds": 2.5,
    }
    producer = ProducerVerdict(
        name="web",
        acknowledged=1_300,
        by_side={Side.SOURCE: 1_000, Side.TARGET: 300},
        longest_pause_seconds=1.25,
    )
    group = GroupVerdict(**(good | wrong))
    return Verdict(producers=(producer,), groups=(group,), findings=("group shop: lost: record 7",) if wrong else ())


def concluded(found: Verdict, promise: Promise = Promise()) -> int:  # noqa: B008  # it is frozen
    return conclude(found, promise, scheme=Scheme.CONSUMERS_FIRST, narrator=Narrator(color=False))


def test_what_was_promised_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert concluded(verdict()) == 0
    told = capsys.readouterr().err
    assert "1,300 records acknowledged, 1,300 processed: 0 lost, 0 repeated, 0 out of order" in told
    assert "pause of a producer was 1.2 s, of a group 2.5 s. That is what consumers-first promises" in told


@pytest.mark.parametrize("what", ["lost", "repeated", "out_of_order"])
def test_one_record_too_much_is_a_difference(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert concluded(verdict(**{what: 1})) == DIFFERENCE_FOUND
    told = capsys.readouterr().err
    assert "group shop: lost: record 7" in told
    assert "That is not what consumers-first promises: 1 records were" in told


def test_what_may_be_is_no_difference() -> None:
    assert concluded(verdict(repeated=5, out_of_order=9), Promise(most_repeated=5, is_in_order=False)) == 0


def test_the_table_shows_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    print_verdict(verdict(lost=1, repeated=2, out_of_order=3), color=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["web", "1,300", "1,000", "300", "1.2", "s"] in lines
    assert ["shop", "1,300", "1,300", "1,000", "300", "1", "2", "3", "2.5", "s"] in lines


def test_the_manifest_names_the_scheme_and_what_the_service_uses(tmp_path: Path) -> None:
    cluster: Any = SimpleNamespace(cluster_id="5L6g3nShT-eMCtK--X86sw", bootstrap_of=lambda _: "127.0.0.1:9092")
    password = tmp_path / "password"
    password.write_text("secret")
    path = tmp_path / "demo.yaml"
    path.write_text(manifest_text(cluster, cluster, password, scheme=Scheme.PRODUCERS_LATER, service=SERVICE))
    assert "secret" not in path.read_text()
    manifest = load_manifest(path)
    assert manifest.scheme is Scheme.PRODUCERS_LATER
    assert [name for name in ("orders", "clicks", "else") if manifest.topic_selected(name)] == ["orders", "clicks"]
    assert [name for name in ("shop", "audit", "else") if manifest.groups.selects(name)] == ["shop", "audit"]


def test_every_topic_of_the_service_is_written_and_read_by_somebody() -> None:
    written = {topic for each in SERVICE.producers for topic in each.topics}
    assert written == set(SERVICE.topics) == {topic for each in SERVICE.readers for topic in each.topics}


def test_a_group_is_to_get_what_it_reads_or_where_that_comes_from() -> None:
    from kmigrate.demo.service.plans import ReaderSpec, RelaySpec

    spec = ServiceSpec(
        producers=SERVICE.producers,
        readers=(*SERVICE.readers, ReaderSpec(group="bank", topics=("bills",), origins=("orders",))),
        relays=(RelaySpec(name="billing", group="billing", reads="orders", writes="bills"),),
    )
    assert spec.topics == ("bills", "clicks", "orders")
    assert spec.groups == ("audit", "bank", "billing", "shop")
    assert spec.expected == {
        "shop": frozenset({"orders"}),
        "audit": frozenset({"orders", "clicks"}),
        "bank": frozenset({"orders"}),
    }
