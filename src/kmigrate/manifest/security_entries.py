"""The entries of a cluster's properties as those ask for them who read its security, with what is wrong gathered.

Rule: of two spellings of one setting the later entry counts, as everywhere in properties. No value is quoted that may
be a secret; a key whose reference leads nowhere is told elsewhere, and counts as given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kmigrate.access.pem import unfold_pem
from kmigrate.access.security import Pem, PemFile, PemText, Secret
from kmigrate.errors import Problem
from kmigrate.manifest.files import read_limited
from kmigrate.manifest.settings import PropertyEntry


class SecurityEntries:
    """Entries by key; `problems` and `notices` grow while they are read."""

    def __init__(self, entries: Mapping[str, PropertyEntry], unresolved: Collection[str] = ()) -> None:
        self.problems: list[Problem] = []
        self.notices: list[str] = []
        self._entries = entries
        self._unresolved = unresolved

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def last(self, *keys: str) -> PropertyEntry | None:
        """The last of the entries with one of these keys that says something."""
        found = [entry for key, entry in self._entries.items() if key in keys and entry.value.strip()]
        return found[-1] if found else None

    def entry(self, key: str) -> PropertyEntry | None:
        """The entry, also if it is empty."""
        return self._entries.get(key)

    def text(self, *keys: str) -> str:
        """The last value without blanks around it; empty without one."""
        entry = self.last(*keys)
        return "" if entry is None else entry.value.strip()

    def is_unresolved(self, *keys: str) -> bool:
        return any(key in self._unresolved for key in keys)

    def flag(self, key: str, default: bool) -> bool:
        entry = self.last(key)
        if entry is None:
            return default
        if entry.value.strip().lower() in ("true", "false"):
            return entry.value.strip().lower() == "true"
        self.tell(entry, f"{key} must be true or false")
        return default

    def tell(self, entry: PropertyEntry, message: str, hint: str = "") -> None:
        self.problems.append(Problem(file=entry.file, line=entry.line, message=message, hint=hint))

    def pem_file(self, entry: PropertyEntry, named: str | None = None) -> tuple[Pem, str] | None:
        """The file that an entry (or the text `named` out of it) names, and what it holds now."""
        named = entry.value.strip() if named is None else named
        path = (entry.folder / named).absolute()
        shown = entry.written if entry.secret else named
        try:
            return PemFile(path), read_limited(path).decode("ascii", errors="replace")
        except OSError as error:
            self.tell(entry, f"{entry.key}: {shown} cannot be read: {error.strerror}")
            return None

    def pem_text(self, entry: PropertyEntry) -> tuple[Pem, str]:
        """What stands in the entry itself."""
        text = unfold_pem(entry.value)
        return PemText(entry.key, Secret(text)), text
