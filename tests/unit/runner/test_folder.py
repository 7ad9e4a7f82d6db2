"""A migration has one owner, and no worker of a dead owner beside a new one."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kmigrate.errors import KmigrateError, Refused
from kmigrate.runner.folder import (
    MAX_SOCKET_PATH_BYTES,
    MigrationFolder,
    create_socket_folder,
    decide_socket_path,
)

OWNER = """
import subprocess, sys
from pathlib import Path
from kmigrate.runner.folder import MigrationFolder
ownership = MigrationFolder(Path(sys.argv[1]), "orders").take_ownership()
if sys.argv[2] == "1":  # the worker lives as long as somebody holds its standard input, not as its owner
    subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[ownership.workers_fd],
    )
print("owns", flush=True)
sys.stdin.read()
"""


def start_owner(root: Path, *, workers: int = 0) -> subprocess.Popen[str]:
    """An owner in a process of its own; it and its workers end when its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(root), str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "owns\n"
    return process


def test_the_folder_is_private(tmp_path: Path) -> None:
    folder = MigrationFolder(tmp_path / "state", "orders")
    assert folder.path == tmp_path / "state" / "orders"
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.database.parent == folder.log.parent == folder.path
    MigrationFolder(tmp_path / "state", "orders")  # once more is fine


def test_a_folder_that_cannot_be_made_is_told_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KmigrateError) as caught:
        MigrationFolder(tmp_path / "file", "orders")
    assert "--state" in caught.value.hint


def test_there_is_no_owner_at_first_and_after_release(tmp_path: Path) -> None:
    folder = MigrationFolder(tmp_path, "orders")
    assert not folder.owner_alive()
    with folder.take_ownership() as ownership:
        assert folder.owner_alive()
        assert ownership.note.pid == os.getpid()
        assert folder.owner_note() == ownership.note
    ownership.release()  # once more is fine
    assert not folder.owner_alive()
    assert folder.owner_note() is None


def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    process = start_owner(tmp_path)
    try:
        folder = MigrationFolder(tmp_path, "orders")
        assert folder.owner_alive()
        with pytest.raises(Refused, match=f"process {process.pid} on .+, started .+ UTC") as caught:
            folder.take_ownership(patience_seconds=0)
        assert caught.value.exit_code == 6
        MigrationFolder(tmp_path, "pay").take_ownership(patience_seconds=0).release()  # another migration
    finally:
        process.communicate()


def test_a_killed_owner_leaves_nothing_to_clean_up(tmp_path: Path) -> None:
    process = start_owner(tmp_path)
    process.kill()
    process.communicate()
    folder = MigrationFolder(tmp_path, "orders")
    assert not folder.owner_alive()
    with folder.take_ownership(patience_seconds=0) as ownership:
        assert ownership.note.pid == os.getpid()


def test_commands_that_read_after_a_dead_owner_are_waited_for(tmp_path: Path) -> None:
    process = start_owner(tmp_path)
    process.kill()
    process.communicate()
    folder = MigrationFolder(tmp_path, "orders")
    reading = contextlib.ExitStack()
    assert reading.enter_context(folder.briefly_locked())
    with pytest.raises(Refused):
        folder.take_ownership(patience_seconds=0, timeout_seconds=0)
    ends = threading.Timer(0.2, reading.close)
    ends.start()
    with folder.take_ownership(patience_seconds=0) as ownership:
        assert ownership.note.pid == os.getpid()
    ends.join()


def test_a_worker_of_a_dead_owner_is_waited_for(tmp_path: Path) -> None:
    process = start_owner(tmp_path, workers=1)
    process.kill()
    process.wait()
    told: list[str] = []

    def end_the_worker(message: str) -> None:
        told.append(message)
        process.communicate()

    with MigrationFolder(tmp_path, "orders").take_ownership(waiting=end_the_worker):
        assert len(told) == 1
        assert "worker" in told[0]


def test_a_worker_that_does_not_end_is_told(tmp_path: Path) -> None:
    folder = MigrationFolder(tmp_path, "orders")
    ownership = folder.take_ownership()
    worker = os.dup(ownership.workers_fd)  # what a worker inherits is the same open file
    ownership.release()
    told: list[str] = []
    with pytest.raises(Refused, match="workers of an earlier owner") as caught:
        folder.take_ownership(waiting=told.append, timeout_seconds=0)
    assert str(folder.workers_lock) in caught.value.hint
    assert len(told) == 1
    assert not folder.owner_alive()  # a refused owner holds nothing
    os.close(worker)
    folder.take_ownership(waiting=told.append, timeout_seconds=0).release()
    assert len(told) == 1


def test_workers_inherit_their_lock_and_not_the_owners(tmp_path: Path) -> None:
    with MigrationFolder(tmp_path, "orders").take_ownership() as ownership:
        assert os.get_inheritable(ownership.workers_fd)
        assert not os.get_inheritable(ownership._owner_fd)


def test_a_reading_command_holds_the_lock_only_for_its_read(tmp_path: Path) -> None:
    folder = MigrationFolder(tmp_path, "orders")
    with folder.briefly_locked() as ours:
        assert ours
        with folder.briefly_locked() as again:
            assert not again
    with folder.take_ownership(patience_seconds=0), folder.briefly_locked() as ours:
        assert not ours


def test_an_unreadable_note_is_no_note(tmp_path: Path) -> None:
    folder = MigrationFolder(tmp_path, "orders")
    folder.owner_lock.write_text(json.dumps({"pid": 1}))
    assert folder.owner_note() is None
    folder.owner_lock.write_text("{")
    assert folder.owner_note() is None


def test_the_socket_lies_in_the_runtime_folder(tmp_path: Path) -> None:
    path = decide_socket_path("orders", tmp_path, {"XDG_RUNTIME_DIR": "/tmp"})
    assert path.parent == Path("/tmp/kmigrate")
    assert path.name.startswith("orders-")
    assert len(path.stem) == len("orders-") + 8


def test_the_socket_falls_back_to_the_temporary_folder(tmp_path: Path) -> None:
    for environ in ({}, {"XDG_RUNTIME_DIR": str(tmp_path / "missing")}):
        assert decide_socket_path("orders", tmp_path, environ).parent.name == f"kmigrate-{os.getuid()}"


def test_two_state_folders_have_two_sockets(tmp_path: Path) -> None:
    assert decide_socket_path("orders", tmp_path / "a", {}) != decide_socket_path("orders", tmp_path / "b", {})
    (tmp_path / "link").symlink_to(tmp_path)
    assert decide_socket_path("orders", tmp_path, {}) == decide_socket_path("orders", tmp_path / "link", {})


@pytest.mark.parametrize("length", [1, 60, 100])
def test_the_sockets_path_always_fits(tmp_path: Path, length: int) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    for runtime in ("/tmp", str(deep)):
        path = decide_socket_path("n" * length, tmp_path, {"XDG_RUNTIME_DIR": runtime})
        assert len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES


def test_a_socket_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    create_socket_folder(tmp_path / "ours" / "a.sock")
    create_socket_folder(tmp_path / "ours" / "a.sock")
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    for name in ("open", "link"):
        with pytest.raises(Refused):
            create_socket_folder(tmp_path / name / "a.sock")
