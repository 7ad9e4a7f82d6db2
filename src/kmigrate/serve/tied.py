"""A child process is tied to its parent: it does not live on when the parent was killed.

The kernel sees to it on Linux (PR_SET_PDEATHSIG: when the *thread* that started the child ends). Elsewhere the child
looks now and then, if it has asked for that.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 1.0
_IS_LINUX = os.uname().sysname == "Linux"


def tie_to_parent(parent: int) -> None:
    """Has this process killed when the thread that started it ends; ends it now if that has happened."""
    if _IS_LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has ended")


def watch_parent(parent: int) -> None:
    """Where the kernel does not see to it, ends this process within a second of its parent."""
    if _IS_LINUX:
        return

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, name="parent", daemon=True).start()
