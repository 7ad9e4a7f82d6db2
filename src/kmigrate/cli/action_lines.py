"""What becomes of topics, settings, rules, quotas, users and groups, as lines.  (pure)

What needs no attention is counted; with `each` everything has a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.text import Text

from kmigrate.plan.actions import Kind, PlannedAction, Verb, When

SHOWN = 20
"""Lines of one kind, where not everything is asked for."""
_QUIET = frozenset({Verb.NOTHING, Verb.LEAVE_OUT})
_STYLES = {Verb.BLOCKED: "red", Verb.UNKNOWN: "yellow", Verb.BY_HAND: "yellow", Verb.KEEP: "yellow"}
_WHEN = {
    When.COPYING: " while copying",
    When.END_OF_HOLD: " at the end of the hold",
    When.PROMOTION: " at promotion",
    When.CUTOVER: " at the cutover",
}


def action_lines(actions: Iterable[PlannedAction], *, each: bool) -> Iterator[Text]:
    """A head for every kind with its counts, and a line for each action."""
    for kind, group in groupby(actions, key=lambda action: action.kind):
        of_kind = list(group)
        yield Text(f"{kind.value}: {_counts(of_kind)}", "bold")
        shown = of_kind if each else [action for action in of_kind if not _is_quiet(action)]
        lines = shown if each else shown[:SHOWN]
        for action in lines:
            yield action_line(action)
        if len(shown) > len(lines):
            yield Text(f"  … and {len(shown) - len(lines):,} more (-o wide shows them)", "dim")


def action_line(action: PlannedAction) -> Text:
    """`  create  orders: 12 partitions, replication factor 3  (the target does not have it)`."""
    what = f": {action.what}" if action.what else ""
    line = Text(f"  {action.action.value:<9} {action.name}{what}{_WHEN.get(action.when, '')}", overflow="fold")
    line.stylize(_STYLES.get(action.action, ""))
    line.append(f"  ({action.reason})", "dim")
    return line


def _is_quiet(action: PlannedAction) -> bool:
    """Settings that wait for the end of the hold are what the source has: they are counted only.

    What a wave leaves behind is no small thing.
    """
    if action.kind is Kind.WAVES:
        return False
    return action.action in _QUIET or (action.kind is Kind.CONFIGS and action.when is When.END_OF_HOLD)


def _counts(actions: list[PlannedAction]) -> str:
    counted = Counter(f"{each.action.value}{_WHEN.get(each.when, '')}" for each in actions)
    return ", ".join(f"{number:,} {words}" for words, number in sorted(counted.items()))
