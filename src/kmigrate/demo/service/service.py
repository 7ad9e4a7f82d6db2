"""The service: all its applications, each of which can be stopped, started on either side, or rolled over.

::

    with Service(spec, {Side.SOURCE: source.bootstrap, Side.TARGET: target.bootstrap}, folder) as service:
        service.start(service.names, Side.SOURCE)
        service.roll(service.writers(["orders"]), Side.TARGET)
        verdict = judge(service.ledger())

Rule: it does what it is told and nothing else. Stopping is clean: flush or commit, close, leave the group.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Self, TypeAlias

from kmigrate.demo.service.application import Application, Run
from kmigrate.demo.service.entries import ServiceLedger
from kmigrate.demo.service.notes import notes_path, read_notes
from kmigrate.demo.service.plans import (
    NUMBERS_OF_A_RUN,
    ApplicationState,
    ProducerSpec,
    ReaderSpec,
    RelaySpec,
    RunPlan,
    ServiceSpec,
    Work,
)
from kmigrate.kafka_types import Side

START_SECONDS = 60.0
STOP_SECONDS = 60.0
_PlanOf: TypeAlias = Callable[[Side, int], RunPlan]
"""The plan of an application's run of this number, on a side."""


class Service:
    """The applications of `spec`; their notes and logs lie in `folder`. `close` ends all of them in any case."""

    def __init__(self, spec: ServiceSpec, addresses: Mapping[Side, str], folder: Path) -> None:
        self.spec = spec
        self._addresses = addresses
        self._folder = folder
        self._runs: dict[str, int] = {}
        self._applications: dict[str, Application] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for producer in spec.producers:
            self._add(producer.name, partial(self._producer_plan, producer))
        for reader in spec.readers:
            for name in reader.names:
                self._add(name, partial(self._reader_plan, reader, name))
        for relay in spec.relays:
            self._add(relay.name, partial(self._relay_plan, relay))

    # -- who there is ---------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Every application, one name for each instance."""
        return tuple(self._applications)

    def writers(self, topics: Collection[str]) -> tuple[str, ...]:
        """The applications that write to any of these topics."""
        producers = [each.name for each in self.spec.producers if set(each.topics) & set(topics)]
        return (*producers, *(each.name for each in self.spec.relays if each.writes in topics))

    def readers(self, groups: Collection[str]) -> tuple[str, ...]:
        """The applications that are members of any of these groups."""
        readers = [name for each in self.spec.readers if each.group in groups for name in each.names]
        return (*readers, *(each.name for each in self.spec.relays if each.group in groups))

    def state(self, name: str) -> ApplicationState:
        """How an application is."""
        return self._applications[name].state

    def sides(self, name: str) -> frozenset[Side]:
        """Where an application runs now."""
        return self.state(name).sides

    # -- what they are told ---------------------------------------------------------------------

    def start(self, names: Iterable[str], on: Side) -> None:
        """Starts applications on a side, all at once, and waits until they are up; raises ApplicationFailed."""
        names = tuple(names)
        for name in names:
            self._applications[name].start(on)
        for name in names:
            run = self._applications[name].run_on(on)
            assert run is not None, "it was started just now"
            run.wait_until_running(patience_seconds=START_SECONDS)

    def stop(self, names: Iterable[str], on: Side | None = None) -> None:
        """Stops applications, all at once, on one side or on both; raises ApplicationFailed for one in disorder."""
        runs = [
            run
            for name in names
            for side in self.sides(name)
            if on in (None, side) and (run := self._applications[name].run_on(side)) is not None
        ]
        for run in runs:
            run.ask_to_end()
        for run in runs:
            run.wait_until_ended(patience_seconds=STOP_SECONDS)

    def roll(self, names: Iterable[str], to: Side) -> None:
        """Restarts applications on a side, one after the other; one that is there already is left as it is."""
        for name in names:
            if to not in self.sides(name):
                self.stop((name,))
                self.start((name,), to)

    def kill(self, name: str) -> None:
        """Kills an application wherever it runs, without a warning."""
        for side in self.sides(name):
            run = self._applications[name].run_on(side)
            assert run is not None, "it runs there"
            run.kill()

    def ledger(self) -> ServiceLedger:
        """All that they have noted so far."""
        return read_notes(self._folder, self.spec.expected)

    def close(self) -> None:
        """Ends everything, in whatever state it is."""
        for application in self._applications.values():
            application.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- their runs -----------------------------------------------------------------------------

    def _add(self, name: str, plan: _PlanOf) -> None:
        self._applications[name] = Application(name, partial(self._launch, name, plan))

    def _launch(self, name: str, plan: _PlanOf, side: Side) -> Run:
        number = self._runs.get(name, 0)
        self._runs[name] = number + 1
        return Run(plan(side, number), log=self._folder / f"{name}.log")

    def _producer_plan(self, spec: ProducerSpec, side: Side, number: int) -> RunPlan:
        return RunPlan(
            work=Work.WRITE,
            name=spec.name,
            side=side,
            bootstrap=self._addresses[side],
            notes=str(notes_path(self._folder, spec.name, number)),
            writes=spec.topics,
            keys=spec.keys,
            records_per_second=spec.records_per_second,
            history_records=0 if number else spec.history_records,
            first_number=number * NUMBERS_OF_A_RUN,
        )

    def _reader_plan(self, spec: ReaderSpec, name: str, side: Side, number: int) -> RunPlan:
        return RunPlan(
            work=Work.READ,
            name=name,
            side=side,
            bootstrap=self._addresses[side],
            notes=str(notes_path(self._folder, name, number)),
            reads=spec.topics,
            group=spec.group,
        )

    def _relay_plan(self, spec: RelaySpec, side: Side, number: int) -> RunPlan:
        return RunPlan(
            work=Work.RELAY,
            name=spec.name,
            side=side,
            bootstrap=self._addresses[side],
            notes=str(notes_path(self._folder, spec.name, number)),
            reads=(spec.reads,),
            group=spec.group,
            writes=(spec.writes,),
        )
