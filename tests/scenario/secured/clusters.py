"""The two clusters of the story: of its own, as topics and groups have the names that stand in the transcript."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.secured.certificates import Authority
from tests.secured.cluster import Security
from tests.secured.granted import Guarded
from tests.secured.pair import Pair


@contextlib.contextmanager
def secured_pair(folder: Path) -> Iterator[Guarded]:
    """Both run, with authorizers."""
    security = Security(authority=Authority(folder / "ca"), authorizer=True)
    pair = Pair(folder, security, SOURCE_VERSION, TARGET_VERSION)
    failed = True
    try:
        pair.start()
        yield Guarded(pair)
        failed = False
    finally:
        pair.close(failed=failed)
