"""What was verified, kept and shown: the owner's side of `verify`."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from kmigrate.runner.verification import PartitionVerification
from kmigrate.runner.verify_partition import Mode
from kmigrate.state.store import Store
from kmigrate.state.verification_book import VerificationBook, VerificationRow


class Verifications:
    """The verifications of one migration. Many threads may use it.

    What was read once is not read again before it changes: a cutover looks at all of it four times a second.
    """

    def __init__(self, store: Store) -> None:
        self._book = VerificationBook(store)
        self._read: dict[tuple[str, int, str], tuple[str, PartitionVerification]] = {}

    def load(self, mode: Mode | None = None) -> list[PartitionVerification]:
        """What was verified, in one mode or in all; what another version wrote and this one cannot read is left out."""
        found = []
        for row in self._book.load(None if mode is None else mode.value):
            try:
                found.append(self._parse(row))
            except ValidationError:
                continue  # it is verified anew
        return found

    def _parse(self, row: VerificationRow) -> PartitionVerification:
        place = row.topic, row.partition, row.mode
        known = self._read.get(place)
        if known is None or known[0] != row.document:
            known = self._read[place] = row.document, PartitionVerification.from_json(row.document)
        return known[1]

    def keep(self, rows: Iterable[PartitionVerification]) -> int:
        """Keeps these in place of what was known of the same partitions and modes; returns how many."""
        kept = [VerificationRow(each.topic, each.partition, each.mode.value, each.to_keep.to_json()) for each in rows]
        self._book.save(kept)
        return len(kept)
