"""What applications are to use on the target is shown as long as some of them have not moved."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from kmigrate.cli.cutover_screen import cutover_screen
from kmigrate.runner.cutover.document import CutoverDocument, show_wave
from kmigrate.schemes.cutover import begin
from tests.unit.schemes.examples import CLEAN, NOW, facts

WAVE = show_wave(begin(CLEAN, NOW), facts(CLEAN), NOW)
PROPERTIES = {"bootstrap.servers": "t:9095", "sasl.jaas.config": "***"}


def lines(document: CutoverDocument) -> list[str]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(cutover_screen(document, str, steps=False))
    return [line.strip() for line in captured.get().splitlines()]


def test_the_targets_address_is_shown_to_who_restarts_an_application() -> None:
    shown = lines(CutoverDocument(name="orders", live=True, waves=(WAVE,), client_properties=PROPERTIES))
    assert shown[-3:] == ["the target's address, for applications:", "bootstrap.servers=t:9095", "sasl.jaas.config=***"]


def test_where_all_have_moved_or_nothing_was_said_it_is_not() -> None:
    ended = replace(WAVE, outcome="finished")
    assert "t:9095" not in str(
        lines(CutoverDocument(name="o", live=True, waves=(ended,), client_properties=PROPERTIES))
    )
    assert "the target's address, for applications:" not in lines(CutoverDocument(name="o", live=True, waves=(WAVE,)))
