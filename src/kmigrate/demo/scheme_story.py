"""The story of one scheme: a service that never knows of it moves, led by an operator who reads the command line.

Real producers and consumers work on the source; `kmigrate run` copies; the operator follows the steps of the cutover.
In the end the judge counts what became of every acknowledged record: the demo ends with 0 only if that is what the
scheme promises.

Rule: as in `stage.py`: whatever is made has a place before it is made.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from pathlib import Path

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.guarded import LISTENERS, client_properties, guarded_properties
from kmigrate.demo.narrator import Narrator
from kmigrate.demo.service.commands import CutoverCommands
from kmigrate.demo.service.judge import Verdict, judge
from kmigrate.demo.service.operator import Operator
from kmigrate.demo.service.plans import MOST_AT_ONCE, ProducerSpec, ReaderSpec, ServiceSpec
from kmigrate.demo.service.promise import Promise, broken_by, promise_of
from kmigrate.demo.service.service import Service
from kmigrate.demo.service.table import print_verdict
from kmigrate.demo.shapes import TopicShape
from kmigrate.demo.stage import NAME, DemoFailed, Stage
from kmigrate.demo.story import DIFFERENCE_FOUND, need_client, tell_to_the_end
from kmigrate.kafka_types import Side
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.wave import Ending

SERVICE = ServiceSpec(
    producers=(
        ProducerSpec(name="web", topics=("orders", "clicks"), records_per_second=200, history_records=10_000),
        ProducerSpec(name="till", topics=("orders",), records_per_second=100, history_records=5_000),
    ),
    readers=(
        ReaderSpec(group="shop", topics=("orders",)),
        ReaderSpec(group="audit", topics=("orders", "clicks")),
    ),
)
_SHAPES = (
    TopicShape(name="orders", partitions=4, codec="none", what="written by two applications, read by two groups"),
    TopicShape(name="clicks", partitions=2, codec="none", what="written by one application, read by one group"),
)
_FINISHED = "finished"
_CAUGHT_UP_SECONDS = 90.0
_POLL_SECONDS = 0.5


def run_scheme_demo(
    scheme: Scheme,
    *,
    color: bool = True,
    kafka_home: Path | None = None,
    keep: bool = False,
    service: ServiceSpec = SERVICE,
    ending: Ending = Ending.CLEAN,
) -> int:
    """Tells the whole story; returns an exit code. `keep`: the folder stays, with manifest, state, notes and logs."""
    need_client()
    stage = Stage(Narrator(color=color), kafka_home=kafka_home, color=color)
    return tell_to_the_end(SchemeStory(stage, scheme, service, ending), keep=keep)


class SchemeStory:
    """Everything that the demo of a scheme starts, chapter by chapter."""

    def __init__(self, stage: Stage, scheme: Scheme, spec: ServiceSpec, ending: Ending = Ending.CLEAN) -> None:
        self.stage = stage
        self.narrator = stage.narrator
        self._scheme = scheme
        self._ending = ending
        self._spec = spec
        self._password = secrets.token_hex(8)
        self._service: Service | None = None
        self._copier: subprocess.Popen[bytes] | None = None

    def tell(self) -> int:
        """Tells all chapters; returns an exit code."""
        self.narrator.chapter("Two Kafka clusters start on this machine")
        source, target = self.stage.start_clusters(properties=guarded_properties(self._password), listeners=LISTENERS)
        service = self._start_service(source, target)
        self._write_manifest(source, target)
        self._start_copy()
        self._lead(service)
        verdict = self._end_service(service)
        return self._judge(verdict)

    def end(self, *, failed: bool, keep: bool) -> None:
        """Ends whatever runs and removes whatever was made; after a failure notes and logs stay."""
        self.stage.end(failed=failed, keep=keep, clients=self._close_service)

    def _close_service(self) -> None:
        if self._service is not None:
            self._service.close()

    # -- chapters -------------------------------------------------------------------------------

    def _start_service(self, source: EmbeddedCluster, target: EmbeddedCluster) -> Service:
        self.narrator.chapter("A service runs on the source")
        self.stage.open_witness(source).create_topics(_SHAPES)
        for shape in _SHAPES:
            self.narrator.say(f"  {shape.name:<10} {shape.partitions:>2} partitions: {shape.what}")
        addresses = {Side.SOURCE: source.bootstrap, Side.TARGET: target.bootstrap}
        service = self._service = Service(self._spec, addresses, self.stage.folder / "service")
        producers = service.writers(self._spec.topics)
        service.start(producers, Side.SOURCE)
        service.start(service.readers(self._spec.groups), Side.SOURCE)
        self._fill_topics(service)
        verdict = self._catch_up(service)
        self.narrator.say(
            f"{len(producers)} producers and {len(service.names) - len(producers)} members of {len(self._spec.groups)} "
            f"groups are at work: {verdict.acknowledged:,} records acknowledged, {verdict.processed:,} processed."
        )
        return service

    def _write_manifest(self, source: EmbeddedCluster, target: EmbeddedCluster) -> None:
        self.narrator.chapter("The manifest says what is to move, and by which scheme")
        password_file = self.stage.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, encoding="utf-8")
        self.stage.write_manifest(
            manifest_text(source, target, password_file, scheme=self._scheme, service=self._spec, ending=self._ending)
        )

    def _start_copy(self) -> None:
        self.narrator.chapter("kmigrate run copies while the service works")
        self._copier = self.stage.start_copier(view=self.stage.folder / "run.log")

    def _lead(self, service: Service) -> None:
        self.narrator.chapter(f"The operator follows {self._scheme.value}")
        commands = CutoverCommands(
            self.stage.manifest,
            NAME,
            arguments=("--state", str(self.stage.state)),
            environment=self.stage.environment,
            show=self.narrator.show_command,
        )
        outcomes = Operator(commands, service, say=self.narrator.say).lead(until=lambda _: self._has_copier_failed())
        if self._copier is not None and self._has_copier_failed():
            raise self.stage.copier_failed(self._copier)
        if set(outcomes.values()) != {_FINISHED}:
            told = ", ".join(f"{wave}: {outcome}" for wave, outcome in outcomes.items())
            raise DemoFailed(f"the cutover did not lead to the target: {told or 'there was none'}")

    def _end_service(self, service: Service) -> Verdict:
        self.narrator.chapter("The producers end, and the groups read the rest")
        service.stop(service.writers(self._spec.topics))
        self._catch_up(service)
        service.stop(service.names)
        return judge(service.ledger())

    def _judge(self, verdict: Verdict) -> int:
        self.narrator.chapter("The judge counts what became of every record")
        self.narrator.say(
            "Lost: acknowledged, and never processed by a group that is to read it. Repeated: processed once more. Out "
            "of order: processed for the first time after a later record of the same producer and key. A pause of a "
            "group is time in which records were there and none was processed."
        )
        print_verdict(verdict, color=self.stage.color)
        most = MOST_AT_ONCE * sum(each.members for each in self._spec.readers)
        promise = promise_of(self._scheme, self._ending, most_repeated=most)
        return conclude(verdict, promise, scheme=self._scheme, narrator=self.narrator)

    def _fill_topics(self, service: Service) -> None:
        """Waits until what is there before the migration begins is written."""
        wanted = sum(each.history_records for each in self._spec.producers)
        deadline = time.monotonic() + _CAUGHT_UP_SECONDS
        while (acknowledged := judge(service.ledger()).acknowledged) < wanted:
            if time.monotonic() > deadline:
                told = f"{acknowledged:,} of {wanted:,} records were acknowledged after {_CAUGHT_UP_SECONDS:.0f} s"
                raise DemoFailed(told, hint="is this machine overloaded?")
            time.sleep(_POLL_SECONDS)

    def _has_copier_failed(self) -> bool:
        """Whether `kmigrate run` ended otherwise than in order; it may end by itself when nothing is left to copy."""
        return self._copier is not None and self._copier.poll() not in (None, 0)

    def _catch_up(self, service: Service) -> Verdict:
        """Waits until every group has read what was there when this began; says nothing about what is wrong then."""
        deadline = time.monotonic() + _CAUGHT_UP_SECONDS
        there = set(service.ledger().acknowledged)
        while True:
            ledger = service.ledger()
            verdict = judge(ledger)
            ledger.acknowledged = [each for each in ledger.acknowledged if each in there]
            if not judge(ledger).lost or time.monotonic() > deadline:
                return verdict
            time.sleep(_POLL_SECONDS)


def conclude(verdict: Verdict, promise: Promise, *, scheme: Scheme, narrator: Narrator) -> int:
    """Says whether a verdict is what was promised; returns an exit code, 0 only if it is."""
    broken = list(broken_by(verdict, promise))
    told = (
        f"{verdict.acknowledged:,} records acknowledged, {verdict.processed:,} processed: {verdict.lost:,} lost, "
        f"{verdict.repeated:,} repeated, {verdict.out_of_order:,} out of order. The longest pause of a producer was "
        f"{verdict.longest_producer_pause_seconds:.1f} s, of a group {verdict.longest_group_pause_seconds:.1f} s."
    )
    if not broken:
        narrator.praise(f"{told} That is what {scheme.value} promises. It took {narrator.seconds:.0f} seconds.")
        return 0
    for finding in verdict.findings:
        narrator.warn(finding)
    narrator.warn(f"{told} That is not what {scheme.value} promises: {'; '.join(broken)}.")
    return DIFFERENCE_FOUND


def manifest_text(
    source: EmbeddedCluster,
    target: EmbeddedCluster,
    password_file: Path,
    *,
    scheme: Scheme,
    service: ServiceSpec,
    ending: Ending = Ending.CLEAN,
) -> str:
    """The manifest: the service's topics and groups, and the scheme."""
    how = "" if ending is Ending.CLEAN else f"\n  ending: {ending.value}"
    return f"""\
apiVersion: kmigrate/v1
kind: Migration
metadata:
  name: {NAME}
spec:
  source:
    clusterId: "{source.cluster_id}"   # a guard: any other cluster is refused
    properties: {_flow(client_properties(source, password_file))}
  target:
    clusterId: "{target.cluster_id}"
    properties: {_flow(client_properties(target, password_file))}
  topics:
    include: {_flow(service.topics)}
  groups:
    include: {_flow(service.groups)}
  scheme: {scheme.value}{how}
  cutover:
    stillSeconds: 5                       # 330 by default, as clients retry for minutes; these stop cleanly
  limits:
    targetFreePercent: 1                  # both clusters are on this machine; 20 by default
"""


def _flow(value: object) -> str:
    """A value in YAML's flow style, which JSON is."""
    return json.dumps(value)
