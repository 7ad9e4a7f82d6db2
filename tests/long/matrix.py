"""A pytest plugin that runs the cells which are not finished, and writes down what became of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import pytest

from tests.fault.cells import ALONE
from tests.long.claims import Claims
from tests.long.results import Result, Version

FAILURE_CHARACTERS = 20_000


class Matrix:
    """Leaves out finished cells, stops when the time is over. A cell that is skipped has failed."""

    def __init__(
        self,
        *,
        version: Version,
        seed: int,
        finished: Collection[str],
        seconds: float,
        keep: Callable[[Result], None],
        claims: Claims | None = None,
        only_alone: bool = False,
    ) -> None:
        """`claims`: cells that another process has taken are passed over, and all but those of the same kind.

        `only_alone`: that kind is cells that must run alone; else the others.
        """
        self._version = version
        self._claims = claims
        self._only_alone = only_alone
        self._seed = seed
        self._finished = finished
        self._deadline = time.monotonic() + seconds
        self._keep = keep
        self._reports: list[pytest.TestReport] = []
        self.cells: list[str] = []
        """All cells that were collected."""
        self.alone: set[str] = set()
        """Those of them that must run alone."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self.cells = [item.nodeid for item in items]
        self.alone = {item.nodeid for item in items if item.get_closest_marker(ALONE) is not None}
        finished = [item for item in items if item.nodeid in self._finished]
        items[:] = [item for item in items if item.nodeid not in self._finished]
        config.hook.pytest_deselected(items=finished)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Runs what it claims, in the place of pytest's own loop; None leaves it to that.

        One cell is claimed ahead: from the next one, pytest knows which fixtures must end with a cell.
        """
        if self._claims is None or session.config.option.collectonly:
            return None
        kind = [item for item in session.items if (item.nodeid in self.alone) == self._only_alone]
        mine = (item for item in kind if self._claims.take(item.nodeid))
        item = next(mine, None)
        while item is not None:
            following = next(mine, None)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
            item = following
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(report)
        if report.when != "teardown":
            return
        reports, self._reports = self._reports, []
        self._keep(
            Result(
                cell=report.nodeid,
                code=self._version.code,
                commit=self._version.commit,
                seed=self._seed,
                passed=all(each.passed for each in reports),
                seconds=round(sum(each.duration for each in reports), 1),
                figures=dict(report.user_properties),
                failure="\n".join(each.longreprtext for each in reports if not each.passed)[-FAILURE_CHARACTERS:],
            )
        )

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        if time.monotonic() > self._deadline:
            item.session.shouldstop = "the time is over"
