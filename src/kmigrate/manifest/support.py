"""What this version does not act on yet stands here, and nowhere else.

Rule: a value that would change the copy and is not supported is refused with its line, where it is read; one that
merely is not acted on yet is accepted and named in a notice.
"""

from __future__ import annotations

from kmigrate.manifest.model import ManifestDocument

NOT_ACTED_ON = ("waves",)


def notices_of(document: ManifestDocument) -> tuple[str, ...]:
    """One notice naming the sections that are written but not acted on; empty if there are none."""
    named = [name for name in NOT_ACTED_ON if name in document.spec.model_fields_set]
    return (f"{', '.join(named)}: accepted, not acted on by this version",) if named else ()
