"""How all migrations of a state folder stand: every owner is asked, side by side, and none is waited for long.

It works with and without a serve: where none runs, the roster says what it would hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kmigrate.api.client import Client
from kmigrate.errors import KmigrateError
from kmigrate.runner.folder import MigrationFolder, OwnerNote, is_migration, list_migrations
from kmigrate.runner.status import StatusDocument
from kmigrate.serve.document import MigrationsDocument, MigrationSummary, owner_status, summarize
from kmigrate.serve.roster import is_name
from kmigrate.serve.supervisor import Holding

ANSWER_SECONDS = 5.0
SIDE_BY_SIDE = 8
MOST_TROUBLES = 20


def is_known(root: Path, name: str, holding: Holding | None) -> bool:
    """Whether there is such a migration: held, or with a folder of its own."""
    return is_name(name) and (holding is not None or is_migration(root / name))


def read_summary(root: Path, name: str, holding: Holding | None) -> MigrationSummary:
    """How one of them stands."""
    folder = MigrationFolder(root, name)
    return summarize(name, _brief_status(folder), folder.find_owner(), holding)


def read_overview(
    root: Path, holdings: Mapping[str, Holding], served_by: OwnerNote | None, troubles: Mapping[str, str]
) -> MigrationsDocument:
    """How all of them stand, by name."""
    names = sorted({*holdings, *list_migrations(root)})
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="overview") as pool:
        rows = tuple(pool.map(lambda name: read_summary(root, name, holdings.get(name)), names))
    return MigrationsDocument(
        state_folder=str(root),
        served_by=owner_status(served_by),
        troubles=tuple(troubles.values())[:MOST_TROUBLES],
        migrations=rows,
    )


def read_statuses(root: Path, names: list[str]) -> list[StatusDocument]:
    """The status documents of those that have an owner which answers."""

    def read(name: str) -> StatusDocument | None:
        folder = MigrationFolder(root, name)
        if folder.find_owner() is None:
            return None
        client = Client(folder, start_seconds=0.0, timeout_seconds=ANSWER_SECONDS)
        try:
            document = client.status()
        except KmigrateError:
            return None  # it begins or ends just now, or is busy: what is not known has no sample
        return document if client.reached_owner else None

    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="statuses") as pool:
        return [document for document in pool.map(read, names) if document is not None]


def _brief_status(folder: MigrationFolder) -> StatusDocument | KmigrateError:
    try:
        return Client(folder, start_seconds=0.5, timeout_seconds=ANSWER_SECONDS).status(brief=True)
    except KmigrateError as error:
        return error
