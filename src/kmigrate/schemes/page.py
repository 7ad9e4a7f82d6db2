"""What the docs say of a scheme, made from its tables: diagram, steps, gates, and what cannot be taken back.

Rule: nothing here knows a scheme; `report/reference.py` puts the blocks between the marks of the pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from kmigrate.kafka_types import TopicName
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.effects import EFFECTS
from kmigrate.schemes.steps import GATES, Step
from kmigrate.schemes.tables import TABLES, Stage, stages_back, stages_of
from kmigrate.schemes.wave import Ending, History, Move, Wave

_NAMES = {"topics": "⟨topics⟩", "groups": "⟨groups⟩", "name": "⟨application⟩"}
_VARIANTS: Mapping[str, str] = {
    History.NONE: "History: none",
    History.STOPPED: "History: writers stop for a moment",
    History.ROLLING: "History: what was copied, writers are restarted one after the other",
    Ending.CLEAN: "Ending: clean",
    Ending.OVERLAP: "Ending: overlap",
}


def example(scheme: Scheme, variant: str) -> Wave:
    """A wave with one move of each kind that the scheme has."""
    moves = [
        Move(name="writers", topics=(TopicName("orders"),)),
        Move(name="application", topics=(TopicName("bills"),), groups=("billing",)),
        Move(name="readers", groups=("shop",)),
    ]
    kinds = TABLES[scheme, variant].moves
    moves = [move for move in moves if move.kind in kinds]
    if scheme is Scheme.CONSUMERS_FIRST:
        moves.reverse()
    wave = Wave(
        name="example",
        scheme=scheme,
        topics=tuple(topic for move in moves for topic in move.topics),
        groups=tuple(group for move in moves for group in move.groups),
        moves=tuple(moves),
        history=next((each for each in History if each == variant), History.NONE),
        ending=next((each for each in Ending if each == variant), Ending.CLEAN),
        is_fenced=True,
    )
    return replace(wave, has_way_back=wave.ends_with_copy)


def variants(scheme: Scheme) -> tuple[str, ...]:
    """The histories or endings that a scheme has."""
    return tuple(variant for of, variant in TABLES if of is scheme)


def scheme_block(scheme: Scheme) -> str:
    """Every variant of a scheme: diagram and steps."""
    return "\n\n".join(
        f"### {_VARIANTS[variant]}\n\n{diagram(stages_of(wave), _ways_out(wave))}\n\n{steps_table(stages_of(wave))}"
        for variant in variants(scheme)
        for wave in (example(scheme, variant),)
    )


def _ways_out(wave: Wave) -> str:
    if wave.has_way_back:
        return "abort or rollback"
    return f"abort, {'as far as open' if wave.ending is Ending.OVERLAP else 'until the first record on the target'}"


def way_back_block() -> str:
    """The way back: diagram and steps."""
    stages = stages_back(example(Scheme.CONSUMERS_FIRST, Ending.CLEAN))
    return f"{diagram(stages, 'abort')}\n\n{steps_table(stages)}"


def diagram(stages: tuple[Stage, ...], out: str) -> str:
    """Steps as a Mermaid state diagram: forward edges, the way out of a freeze, and the other way out."""
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(f"    {line}" for line in _edges(stages, out)) + "\n```"


def _edges(stages: tuple[Stage, ...], out: str) -> Iterator[str]:
    names = [f"s{stage.number}" for stage in stages]
    for name, stage in zip(names, stages, strict=True):
        scope = f" ({stage.move.name})" if stage.move.name else ""
        yield f"{name}: {stage.number} {stage.step.name}{scope}"
    yield f"[*] --> {names[0]}"
    safe = 0
    for index, stage in enumerate(stages):
        safe = safe if stage.step.is_frozen else index
        then = names[index + 1] if index + 1 < len(stages) else "[*]"
        how = "by itself" if stage.step.is_frozen else "finish" if stage.step is stages[-1].step else "next"
        how = "next" if how == "finish" and stage.step.name != "watch" else how
        approved = ", approved" if stage.step.is_irreversible or stage.step.asks_ahead else ""
        yield f"{names[index]} --> {then}: {how}{approved}"
        if stage.step.is_frozen:
            yield f"{names[index]} --> {names[safe]}: deadline, abort, or a broken freeze"
    yield f"note right of {names[0]}: every step that is not frozen also has {out}"


def steps_table(stages: tuple[Stage, ...]) -> str:
    """The steps with who acts, gates, effects, and where applications may write."""
    rows = "\n".join(_row(stage) for stage in stages)
    lasting = [
        f"* **{stage.number}, {stage.step.name}**: {'; '.join(_words(each) for each in stage.step.cannot_be_undone)}"
        for stage in stages
        if stage.step.cannot_be_undone
    ]
    head = "| | Step | Who acts | Gates | Done on leaving it | Writers on |\n|---|---|---|---|---|---|"
    return f"{head}\n{rows}\n\nCannot be undone, once left:\n\n" + "\n".join(lasting)


def _row(stage: Stage) -> str:
    step = stage.step
    gates = ", ".join(f"`{gate.value}`" for gate in step.gates)
    effects = ", ".join(f"`{kind.value}`" for kind in step.effects) or "nothing"
    cells = (str(stage.number), _title(step), step.actor.value, gates, effects, step.writers.value)
    return f"| {' | '.join(cells)} |"


def _title(step: Step) -> str:
    frozen = " *(frozen: it has a deadline)*" if step.is_frozen else ""
    return f"`{step.name}`: {_words(step.title)}{frozen}"


def _words(template: str) -> str:
    return template.format(**_NAMES)


def gates_table() -> str:
    """Every gate and what must hold."""
    rows = "\n".join(f"| `{gate.value}` | {words} |" for gate, words in GATES.items())
    return f"| Gate | Open if |\n|---|---|\n{rows}"


def effects_table() -> str:
    """Every effect, what is so afterwards, and its undo."""
    rows = "\n".join(
        f"| `{kind.value}` | {entry.words} | {f'`{entry.undo.value}`' if entry.undo else ''} | {entry.no_return} |"
        for kind, entry in EFFECTS.items()
    )
    return f"| Effect | Afterwards | Undo | Not any more |\n|---|---|---|---|\n{rows}"
