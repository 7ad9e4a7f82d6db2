"""Child processes of the demo: they end with it, however it ends, and a Ctrl-C reaches them through it only.

The kernel sees to the first (PR_SET_PDEATHSIG, Linux); elsewhere the producer ends with its pipe.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PROGRAM = """
import sys
from kmigrate.serve.tied import tie_to_parent
tie_to_parent(int(sys.argv.pop(1)))
from {module} import main
sys.exit(main())
"""


def start_child(
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    piped: bool = False,
    errors: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a module's `main` in a process group of its own.

    Its output goes where ours goes, or with `piped` its input and output are pipes; what it prints on stderr
    may go to a file.
    """
    command = [sys.executable, "-P", "-c", _PROGRAM.format(module=module), str(os.getpid()), *arguments]
    with contextlib.ExitStack() as stack:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else None,
            stderr=stack.enter_context(errors.open("ab")) if errors else None,
            env={**os.environ, **(environment or {})},
            process_group=0,
        )


def end_child(process: subprocess.Popen[bytes], *, patience_seconds: float = 5.0) -> None:
    """Asks a process to end, and kills it and its group if it does not."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
