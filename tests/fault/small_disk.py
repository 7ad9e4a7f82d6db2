"""Brokers whose data lies on a small file system of their own, in memory, so that a test can fill it.

Each broker's process has a mount namespace: what is mounted there nobody else sees, and it ends with the process. It
needs `unshare` and `setpriv` of util-linux, and the right to make namespaces: root's, or that of every user where the
kernel gives it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.java import find_java

SIZE_BYTES = 128 << 20

_JAVA = """\
#!/bin/sh
# runs Java; a broker gets its folder of data anew, on a file system of its own
for last; do :; done
case "$last" in
*/server.properties) ;;
*) exec "{java}" "$@" ;;
esac
[ "$(id -u)" = 0 ] && user="" || user="--user --map-root-user"
exec unshare --mount $user sh -ec '
    java=$1 folder=$2
    shift 2
    mkdir -p "$folder/small"
    mount -t tmpfs -o size={size} small "$folder/small"
    cp -a "$folder/data" "$folder/small/data"
    mount --bind "$folder/small/data" "$folder/data"
    exec setpriv --pdeathsig KILL "$java" "$@"
' broker "{java}" "$(dirname "$last")" "$@"
"""


@contextlib.contextmanager
def small_disks(folder: Path) -> Iterator[None]:
    """Brokers that start meanwhile have SIZE_BYTES of disk each, and lose them with their process."""
    script = folder / "bin" / "java"
    script.parent.mkdir(parents=True)
    script.write_text(_JAVA.format(java=find_java(), size=SIZE_BYTES))
    script.chmod(0o755)
    before = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAVA_HOME"]
        else:
            os.environ["JAVA_HOME"] = before


class Ballast:
    """A large file beside a broker's data; an application's, or of another broker on the same disk."""

    def __init__(self, cluster: EmbeddedCluster, node: int) -> None:
        disk = cluster.data_dir(node).parent / "small"
        self._file = Path(f"/proc/{cluster.pid(node)}/root") / disk.relative_to("/") / "ballast"
        assert os.statvfs(self._file.parent).f_blocks * os.statvfs(self._file.parent).f_frsize == SIZE_BYTES

    def put(self, share: float) -> None:
        """Takes up this share of the disk."""
        with self._file.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, int(SIZE_BYTES * share))

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)
