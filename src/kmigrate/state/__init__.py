"""The state room owns what one migration must not forget: one SQLite file in the migration's folder.

It is the only importer of sqlite3. One process at a time opens the file: who holds the folder's lock.
"""

from kmigrate.state.store import EffectEntry, JournalEntry, Store

__all__ = ["EffectEntry", "JournalEntry", "Store"]
