"""Who carries an `apply` out: this process under the migration's lock, or the owner that holds it.

Rule: both show the same, and end the same way.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from kmigrate.api.client import Client
from kmigrate.api.door import told_error
from kmigrate.cli.logfile import logging_to
from kmigrate.errors import KmigrateError, Refused
from kmigrate.manifest import Manifest
from kmigrate.plan.actions import Kind, PlannedAction
from kmigrate.runner.apply_desk import ApplyStage, ApplyStatus, ApplyWish
from kmigrate.runner.folder import MigrationFolder, Ownership
from kmigrate.state.store import Store

if TYPE_CHECKING:
    from kmigrate.runner.apply import Applying
    from kmigrate.runner.applying import Applied

POLL_SECONDS = 0.2
BESIDE_A_COMMAND = (
    "another command is at work: try again when it ended, or look with `kmigrate apply -f FILE --dry-run`"
)


class Doer(Protocol):
    """Has looked, and can carry out what it saw."""

    actions: Sequence[PlannedAction]

    def carry_out(self, kinds: Sequence[Kind], passwords: Mapping[str, str]) -> Generator[Applied, None, None]:
        """Does everything of these kinds, and says of each thing what became of it."""
        ...


@contextlib.contextmanager
def open_doer(
    folder: MigrationFolder,
    manifest: Manifest,
    applying: Applying,
    client: Client,
    *,
    tell: Callable[[str], None],
    debug: bool,
) -> Iterator[Doer]:
    """This process as the owner or, where one runs, that one; raises Refused beside another command."""
    if client.is_served():
        yield ByOwner(client, ApplyWish.of(manifest, applying.cluster_ids()))
        return
    with contextlib.ExitStack() as stack:
        try:
            ownership = stack.enter_context(folder.take_ownership(waiting=tell))
        except Refused as error:
            raise Refused(str(error), hint=BESIDE_A_COMMAND) from error
        stack.enter_context(logging_to(ownership.folder.log, debug=debug))
        store = stack.enter_context(contextlib.closing(Store.open(ownership.folder.path)))
        yield Here(applying, store, ownership)


class Here:
    """This process, under the migration's lock."""

    def __init__(self, applying: Applying, store: Store, ownership: Ownership) -> None:
        self._applying = applying
        self._store = store
        self._ownership = ownership
        self._intent = applying.look(store)
        self.actions: Sequence[PlannedAction] = self._intent.actions

    def carry_out(self, kinds: Sequence[Kind], passwords: Mapping[str, str]) -> Generator[Applied, None, None]:
        yield from self._applying.carry_out(self._intent, self._store, self._ownership, kinds, passwords)


class ByOwner:
    """The running owner, by its API: it looks, and does it under its own lease."""

    def __init__(self, client: Client, wish: ApplyWish, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._sleep = sleep
        status = client.plan_apply(wish)
        self._number = status.number
        while status.stage is ApplyStage.LOOKING:
            sleep(POLL_SECONDS)
            status = client.apply_status(self._number, 0)
        _raise_failure(status)
        self.actions: Sequence[PlannedAction] = client.apply_actions(self._number)

    def carry_out(self, kinds: Sequence[Kind], passwords: Mapping[str, str]) -> Generator[Applied, None, None]:
        """Raises how it ended there; being interrupted here ends it there, too."""
        status = self._client.begin_apply(self._number, kinds, passwords)
        told = 0
        try:
            while True:
                yield from (row.applied for row in status.rows)
                told += len(status.rows)
                if status.stage is ApplyStage.DONE and not status.rows:
                    break
                if not status.rows:
                    self._sleep(POLL_SECONDS)
                status = self._client.apply_status(self._number, told)
        except (KeyboardInterrupt, GeneratorExit):
            with contextlib.suppress(KmigrateError):
                self._client.stop_apply(self._number)
            raise
        _raise_failure(status)


def _raise_failure(status: ApplyStatus) -> None:
    if status.failure is not None:
        raise told_error(status.failure.error, status.failure.hint, status.failure.exit_code)
