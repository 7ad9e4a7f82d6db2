"""The owner that serve starts: `run` without a screen, of a manifest that serve keeps.

Rule: it ends with serve, however that ends; and it says what it ended for in one line on its standard output.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from pathlib import Path

from kmigrate import __version__
from kmigrate.cli.interrupts import INTERRUPTED
from kmigrate.cli.logfile import logging_to
from kmigrate.cli.owning import own
from kmigrate.errors import KmigrateError
from kmigrate.runner.status import StatusDocument
from kmigrate.serve.exits import last_words
from kmigrate.serve.roster import Roster
from kmigrate.serve.tied import tie_to_parent, watch_parent

log = logging.getLogger(__name__)


class LogView:
    """Shows how a run goes in its log alone; the numbers are asked for over the API."""

    def tell(self, message: str) -> None:
        log.info("%s", message)

    def show(self, document: StatusDocument) -> None:
        return

    def close(self) -> None:
        return


def main() -> int:
    """Owns a migration; called with serve's process, the state folder, and the migration's name."""
    parent, root, name = sys.argv[1:]
    tie_to_parent(int(parent))
    watch_parent(int(parent))
    try:
        return _own(Roster(Path(root)), name)
    except KmigrateError as error:
        print(last_words(error), flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # noqa: BLE001  the outermost edge: serve tells the last line of it
        traceback.print_exc()
        return 1


def _own(roster: Roster, name: str) -> int:
    kept = roster.load(name)
    if kept is None:
        raise KmigrateError(f"{name} is held no longer")
    manifest = kept.load()
    folder = roster.folder(name)
    view = LogView()
    with folder.take_ownership(waiting=view.tell) as ownership, logging_to(folder.log, debug=False):
        log.info("kmigrate %s runs %s for serve, process %s, from %s", __version__, name, sys.argv[1], kept.file)
        for notice in manifest.notices:
            view.tell(f"note: {notice}")
        exit_code, _ = own(manifest, ownership, view, until_in_sync=False, beside=lambda desk: contextlib.nullcontext())
    return exit_code
