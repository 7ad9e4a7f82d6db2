"""What was verified, kept and shown: the owner's side of `verify`."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from kmigrate.runner.verification import PartitionVerification
from kmigrate.runner.verify_partition import Mode
from kmigrate.state.store import Store
from kmigrate.state.verification_book import VerificationBook, VerificationRow


class Verifications:
    """The verifications of one migration. Many threads may use it."""

    def __init__(self, store: Store) -> None:
        self._book = VerificationBook(store)

    def load(self, mode: Mode | None = None) -> list[PartitionVerification]:
        """What was verified, in one mode or in all; what another version wrote and this one cannot read is left out."""
        found = []
        for row in self._book.load(None if mode is None else mode.value):
            try:
                found.append(PartitionVerification.from_json(row.document))
            except ValidationError:
                continue  # it is verified anew
        return found

    def keep(self, rows: Iterable[PartitionVerification]) -> int:
        """Keeps these in place of what was known of the same partitions and modes; returns how many."""
        kept = [VerificationRow(each.topic, each.partition, each.mode.value, each.to_keep.to_json()) for each in rows]
        self._book.save(kept)
        return len(kept)
