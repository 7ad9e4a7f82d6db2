"""Writes tables of docs from what the code goes by: findings, rights, metrics, schemes; and the manifest's schema.

`python -m kmigrate.report.reference docs` (`make docs`) does it; a test says when that was forgotten. What stands
outside of the marks is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from kmigrate.kafka_types import Side
from kmigrate.manifest.model import Scheme
from kmigrate.manifest.schema import schema_text
from kmigrate.preflight.registry import FINDINGS, LEVELS
from kmigrate.preflight.rights import NEEDS, Need, Stage, acl_command, lease_group
from kmigrate.report.metrics import metrics_table, service_metrics_table
from kmigrate.schemes import page as schemes_page
from kmigrate.serve.machine import PHASES

_FIELD = re.compile(r"\{(\w+)\}")


def levels_table() -> str:
    """Every level and what it means."""
    rows = "\n".join(f"| `{level.value}` | {meaning} |" for level, meaning in LEVELS.items())
    return f"| Level | Meaning |\n|---|---|\n{rows}"


def findings_table() -> str:
    """Every finding, what it says, what it means, and what to do."""

    def sections() -> Iterator[str]:
        for found_id, entry in FINDINGS.items():
            levels = " or ".join(f"`{level.value}`" for level in entry.levels)
            yield f"### {found_id.value}\n\n{levels} · *{_words(entry.reason)}*\n\n{entry.meaning}"
            if entry.remedy:
                yield f"**Do:** {_words(entry.remedy)}"

    return "\n\n".join(sections())


def _words(template: str) -> str:
    """`{topic}` as ⟨topic⟩: nothing that Markdown or a shell would take for its own."""
    return _FIELD.sub(r"⟨\1⟩", template)


def rights_table(side: Side, stages: tuple[Stage, ...]) -> str:
    """The rights of one side, the required ones first."""
    needs = sorted(
        (need for need in NEEDS if need.side is side and need.stage in stages), key=lambda need: not need.is_required
    )
    rows = "\n".join(_right_row(need) for need in needs)
    return f"| Right | Needed for | Without it |\n|---|---|---|\n{rows}"


def _right_row(need: Need) -> str:
    without = need.without or "**required**: nothing can be copied"
    return f"| {need.right} | {need.purpose} | {without} |"


def commands_block(side: Side, stages: tuple[Stage, ...]) -> str:
    """The lines that grant every right of one side."""
    bootstrap = "source-1:9092" if side is Side.SOURCE else "target-1:9092"
    names = {
        "topic": "orders",
        "group": "orders-app",
        "lease group": lease_group("kmigrate-orders", side),
        "mirror topic": "__kmigrate.orders",
        "transactional id": "*",
    }
    lines = [
        acl_command(need, [names.get(need.resource.value, "")], bootstrap=bootstrap, principal="User:kmigrate")
        for need in NEEDS
        if need.side is side and need.stage in stages
    ]
    return "```\n" + "\n".join(lines) + "\n```"


def phases_table() -> str:
    """What serve may be doing about a migration."""
    rows = "\n".join(f"| `{phase.value}` | {meaning} |" for phase, meaning in PHASES.items())
    return f"| Phase | Meaning |\n|---|---|\n{rows}"


_COPYING = Stage.COPY, Stage.GROUPS
_LATER = Stage.RETENTION, Stage.CUTOVER

BLOCKS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "check.md": {"levels": levels_table, "findings": findings_table},
    "rights.md": {
        "source": lambda: rights_table(Side.SOURCE, _COPYING),
        "source-commands": lambda: commands_block(Side.SOURCE, _COPYING),
        "target": lambda: rights_table(Side.TARGET, _COPYING),
        "target-commands": lambda: commands_block(Side.TARGET, _COPYING),
        "later-source": lambda: rights_table(Side.SOURCE, _LATER),
        "later-target": lambda: rights_table(Side.TARGET, _LATER),
    },
    "metrics.md": {"metrics": metrics_table, "service-metrics": service_metrics_table},
    "serve.md": {"phases": phases_table},
    "schemes/README.md": {
        "way-back": schemes_page.way_back_block,
        "gates": schemes_page.gates_table,
        "effects": schemes_page.effects_table,
    },
    **{f"schemes/{scheme}.md": {"steps": partial(schemes_page.scheme_block, scheme)} for scheme in Scheme},
}
"""Page → mark → what stands there."""


def fill_in(page: str, text: str) -> str:
    """The page with everything between its marks made anew; raises ValueError if a mark is missing."""
    for name, make in BLOCKS[page].items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"{page} lacks {begin} or {end}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{make()}\n{end}{rest.partition(end)[2]}"
    return text


def main(folder: Path) -> None:
    """Makes the tables of every page in a folder anew, and the schema of the manifest."""
    for page in BLOCKS:
        path = folder / page
        path.write_text(fill_in(page, path.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "manifest.schema.json").write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
