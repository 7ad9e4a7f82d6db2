"""Stands in for the owner that serve starts: takes the lock, answers on the socket, and ends at SIGTERM."""

import signal
import sys
from pathlib import Path

from kmigrate.api.server import ApiServer
from kmigrate.runner.desk import Desk
from kmigrate.runner.lookup import Lookup
from kmigrate.runner.status import MigrationState, StatusDocument
from kmigrate.serve.roster import Roster
from kmigrate.serve.tied import tie_to_parent
from kmigrate.state.store import Store


def main() -> int:
    parent, root, name = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    tie_to_parent(int(parent))
    folder = Roster(Path(root)).folder(name)
    with folder.take_ownership() as ownership:
        store = Store.open(folder.path)
        desk = Desk(store, lambda: None)
        desk.publish(StatusDocument(name=name, state=MigrationState.RUNNING, reason="as if"))
        with ApiServer(desk, Lookup(store, desk.status), ownership):
            signal.sigwait([signal.SIGTERM])
    return 130
