"""The waves of a cutover as lines: where each stands, what is missing, what to do next.  (pure)"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kmigrate.cli.amounts import show_duration
from kmigrate.runner.cutover.document import CutoverDocument, WaveStatus

_OPEN, _CLOSED = "✓", "·"
NOTHING_PLANNED = "no cutover is planned: spec.scheme of the manifest says how the service moves"
NO_OWNER = "no owner runs: this is how it stood; `kmigrate run -f FILE` goes on"


def cutover_screen(document: CutoverDocument, spell: Callable[[str], str], *, steps: bool) -> RenderableType:
    """Every wave: a block each; `steps`: with all steps of its way."""
    blocks: list[RenderableType] = []
    if not document.live:
        blocks.append(Text(spell(NO_OWNER), "yellow"))
    for problem in document.problems:
        blocks.append(Text(f"in the way: {problem}", "red", overflow="fold"))
    if not document.waves:
        blocks.append(Text(NOTHING_PLANNED))
    for wave in document.waves:
        blocks += [*wave_lines(wave, spell, steps=steps), Text()]
    if document.client_properties and any(wave.outcome is None for wave in document.waves):
        blocks.append(Text("the target's address, for applications:"))
        blocks += [_line(f"{key}={value}") for key, value in document.client_properties.items()]
    return Group(*blocks)


def wave_lines(wave: WaveStatus, spell: Callable[[str], str], *, steps: bool) -> Iterator[RenderableType]:
    """One wave."""
    auto = ", steps are taken by themselves" if wave.auto else ""
    yield Text(f"wave {wave.wave} ({wave.scheme}{auto})", "bold")
    if steps:
        yield Padding(_steps(wave), (0, 0, 0, 2))
    waiting = "" if wave.left_seconds is None else f"; writers wait, free again in {show_duration(wave.left_seconds)}"
    since = f"  (here for {show_duration(wave.elapsed_seconds)})" if wave.begun and wave.outcome is None else ""
    yield _line(f"{wave.sentence}{waiting}{since}", "yellow" if waiting else "")
    for each in wave.evidence:
        mark, style = (_OPEN, "green") if each.open else (_CLOSED, "yellow")
        yield Padding(Text(f"{mark} {each.gate}: {each.told}", style, overflow="fold"), (0, 0, 0, 4))
    for warning in wave.warnings:
        yield _line(f"look: {warning}", "bold red")
    if wave.outcome is not None:
        return
    yield _line(f"next: {wave.who}: {spell(wave.todo)}", "bold")
    if wave.needs_approval:
        for lost in wave.cannot_be_undone:
            yield _line(f"cannot be undone: {lost}", "magenta")
    yield _line(f"the way back: {wave.undo}")


def _steps(wave: WaveStatus) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for each in wave.steps:
        here = each.number == wave.step.number and wave.outcome is None
        mark = _OPEN if each.done else "▸" if here else " "
        table.add_row(mark, str(each.number), Text(each.name, "bold" if here else ""), Text(each.title))
    return table


def _line(text: str, style: str = "") -> RenderableType:
    return Padding(Text(text, style, overflow="fold"), (0, 0, 0, 2))
