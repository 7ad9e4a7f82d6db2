"""A Java process lives no longer than the Python process that started it.

On Linux the kernel sees to that (PR_SET_PDEATHSIG), also when Python is killed and can clean up
nothing. Two hazards shape the code. The signal is sent when the *thread* that forked ends, so one
thread, which lives until the interpreter exits, forks every process. And code between fork and exec
of a process with threads may deadlock, so the request to the kernel is made by a tiny Python program
that replaces itself with Java and keeps its pid.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kmigrate.errors import KmigrateError

_TIED_TO_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""

_forking_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="java-start")


class JavaMissing(KmigrateError):
    """There is no Java to run."""


def find_java() -> str:
    """The path of `java`: of JAVA_HOME if it is set, else the first on the PATH."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    if java is None:
        where = f"JAVA_HOME={home}" if home else "the PATH"
        raise JavaMissing(f"no java found in {where}", hint="install Java 17 or newer")
    return java


def java_command(
    jars: Path, main_class: str, arguments: Sequence[str] = (), *, options: Sequence[str] = ()
) -> list[str]:
    """The command line that runs a class out of a folder of jars."""
    return [find_java(), *options, "-cp", f"{jars}/*", main_class, *arguments]


def start_java(
    command: Sequence[str], *, output: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a Java command in its own process group, its output appended to a file.

    It is killed when this process ends, in whatever way. A Ctrl-C in the terminal does not reach it.
    """

    def fork() -> subprocess.Popen[bytes]:
        program = [sys.executable, "-I", "-S", "-c", _TIED_TO_PARENT, str(os.getpid())]
        with output.open("ab") as log:
            return subprocess.Popen(
                [*program, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                process_group=0,
            )

    return _forking_thread.submit(fork).result()
