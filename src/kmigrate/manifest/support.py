"""What this version does not act on yet stands here, and nowhere else.

Rule: a value that would change the copy and is not supported is refused with its line, where it is read; one that
merely is not acted on yet is accepted and named in a notice.
"""

from __future__ import annotations

from pydantic.alias_generators import to_camel

from kmigrate.manifest.model import ManifestDocument

NOT_ACTED_ON = ("scheme", "history", "ending", "fence", "way_back", "applications", "cutover", "waves")
"""`plan` shows what follows from them; no command leads a cutover yet."""


def notices_of(document: ManifestDocument) -> tuple[str, ...]:
    """One notice naming the keys that are written but not acted on; empty if there are none."""
    named = [to_camel(name) for name in NOT_ACTED_ON if name in document.spec.model_fields_set]
    return (f"{', '.join(named)}: `plan` shows the cutover, no command of this version leads it",) if named else ()
