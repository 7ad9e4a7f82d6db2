"""Files the operator names are read whole, and never more than a limit.

Reference: none; the limit keeps a mistaken path (a device, a log) from filling the memory.
"""

from __future__ import annotations

import errno
from pathlib import Path

MAX_FILE_BYTES = 4 * 1024 * 1024


def read_limited(path: Path) -> bytes:
    """The file's bytes, at most `MAX_FILE_BYTES`; every failure is an `OSError` with a `strerror`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except ValueError as error:  # a NUL in the path
        raise OSError(errno.EINVAL, "not a path") from error
    if len(content) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"larger than {MAX_FILE_BYTES} bytes")
    return content
