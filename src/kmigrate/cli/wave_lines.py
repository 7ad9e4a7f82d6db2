"""The steps of each wave as lines of a plan.  (pure)

Of many steps the first few are shown; with `each` all of them. What cannot be undone stands below, by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.text import Text

from kmigrate.manifest import FenceChoice
from kmigrate.plan.waves import NO_SCHEME, StepPlan, WavePlan
from kmigrate.words import count_of

SHOWN = 30
"""Steps of one wave, where not everything is asked for."""


def wave_lines(waves: Iterable[WavePlan], *, each: bool) -> Iterator[Text]:
    """A head for every wave, its steps, and what cannot be undone; one line if there is no wave."""
    every = list(waves)
    if not every:
        yield Text(NO_SCHEME, "dim")
    for wave in every:
        yield from _wave(wave, each=each)


def _wave(wave: WavePlan, *, each: bool) -> Iterator[Text]:
    yield Text.assemble((f"wave {wave.name}: ", "bold"), ", ".join(_how(wave)), overflow="fold")
    if not wave.steps:
        yield Text("  its scheme cannot lead it", "red")
    shown = wave.steps if each else wave.steps[:SHOWN]
    names = max((len(step.name) for step in shown), default=0)
    for step in shown:
        yield Text(f"  {step.number:>3} {step.name:<{names}}  {step.title}{_remarks(step)}", overflow="fold")
    if len(wave.steps) > len(shown):
        yield Text(f"  … and {len(wave.steps) - len(shown):,} more steps (-o wide shows them)", "dim")
    for numbers, told in _lasting(wave.steps):
        yield Text(f"  cannot be undone, once left {numbers}: {told}", "yellow", overflow="fold")


def _how(wave: WavePlan) -> Iterator[str]:
    yield wave.scheme.value
    if wave.history is not None:
        yield f"history {wave.history.value}"
    if wave.ending is not None:
        yield f"ending {wave.ending.value}"
    yield "no fence" if wave.fence is FenceChoice.NONE else f"fence {wave.fence.value}"
    yield "with a way back" if wave.way_back else "no way back"
    for number, noun in ((len(wave.topics), "topic"), (len(wave.groups), "group"), (len(wave.moves), "move")):
        yield count_of(number, noun)


def _remarks(step: StepPlan) -> str:
    told = [word for word, is_so in (("writers wait", step.frozen), ("approval", step.approval)) if is_so]
    return f"  [{', '.join(told)}]" if told else ""


def _lasting(steps: Iterable[StepPlan]) -> Iterator[tuple[str, str]]:
    """What several steps make so is told once, with the numbers of all of them."""
    found: dict[str, list[int]] = {}
    for step in steps:
        for each in step.cannot_be_undone:
            found.setdefault(each, []).append(step.number)
    for told, numbers in found.items():
        yield ", ".join(map(str, numbers)), told
