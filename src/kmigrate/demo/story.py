"""The story of one migration, told with real clusters, real clients and the real `kmigrate run`.

A producer writes all the time. The copier is killed in the middle and started again. In the end an independent
client reads both clusters and compares every record, also with what the producer was acknowledged: the demo
ends with 0 only if nothing differs, nothing is there twice and nothing is lost.

Rule: as in `stage.py`: whatever is made has a place before it is made.
"""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kmigrate.demo import interrupts
from kmigrate.demo.comparison import Comparison, compare_sides
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.ledger import read_ledger
from kmigrate.demo.narrator import Narrator, print_table
from kmigrate.demo.shapes import SHAPES
from kmigrate.demo.stage import NAME, DemoFailed, Stage
from kmigrate.demo.workload import Phase, ProducerPlan, Workload
from kmigrate.errors import KmigrateError

if TYPE_CHECKING:
    from kmigrate.demo.witness import Witness

DIFFERENCE_FOUND = 3

_HISTORY_SECONDS = 120.0
_KILL_SHARE = 0.4
_KILL_PATIENCE_SECONDS = 60.0
_IN_SYNC_SECONDS = 90.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large the demo is; copying is limited so that there is a middle to kill it in."""

    history_records: int = 120_000
    records_per_second: int = 2_000
    most_records: int = 300_000
    copied_bytes_per_second: int = 6_000_000


FULL = Scale()


class Told(Protocol):
    """A story that can be told, and ended at any moment."""

    stage: Stage

    def tell(self) -> int: ...
    def end(self, *, failed: bool, keep: bool) -> None: ...


def run_demo(*, color: bool = True, kafka_home: Path | None = None, keep: bool = False, scale: Scale = FULL) -> int:
    """Tells the whole story; returns an exit code. `keep`: the folder stays, with manifest, state and logs."""
    need_client()
    stage = Stage(Narrator(color=color), kafka_home=kafka_home, color=color)
    return tell_to_the_end(Story(stage, scale=scale), keep=keep)


def tell_to_the_end(story: Told, *, keep: bool) -> int:
    """Tells a story and leaves nothing behind, however it ends; returns an exit code."""
    before = interrupts.listen()
    failed = True
    try:
        exit_code = story.tell()
        failed = exit_code != 0
        return exit_code
    except interrupts.Interrupted as interrupted:
        failed = False
        story.stage.end_copier()
        story.stage.narrator.say("interrupted: ending what runs and removing what was made")
        return interrupted.exit_code
    finally:
        interrupts.ignore()
        story.end(failed=failed, keep=keep)
        interrupts.restore(before)


class Story:
    """Everything that the demo starts, chapter by chapter."""

    def __init__(self, stage: Stage, *, scale: Scale) -> None:
        self.stage = stage
        self.narrator = stage.narrator
        self._scale = scale
        self._workload: Workload | None = None

    def tell(self) -> int:
        """Tells all chapters; returns an exit code."""
        self.narrator.chapter("Two Kafka clusters start on this machine")
        source, target = self.stage.start_clusters()
        source_witness, target_witness = self.stage.open_witness(source), self.stage.open_witness(target)
        self._start_production(source, source_witness)
        self._write_manifest(source, target)
        self._copy_and_kill(source_witness, target_witness)
        self._resume()
        self._finish()
        return self._compare(source_witness, target_witness)

    def end(self, *, failed: bool, keep: bool) -> None:
        """Ends whatever runs and removes whatever was made; after a failure the logs stay."""
        self.stage.end(failed=failed, keep=keep, clients=self._end_production)

    def _end_production(self) -> None:
        if self._workload is not None:
            self._workload.close()

    # -- chapters -------------------------------------------------------------------------------

    def _start_production(self, source: EmbeddedCluster, witness: Witness) -> None:
        self.narrator.chapter("A service runs on the source")
        witness.create_topics(SHAPES)
        for shape in SHAPES:
            codec = "" if shape.make is None else f", codec {shape.codec}"
            self.narrator.say(f"  {shape.name:<10} {shape.partitions:>2} partitions{codec}: {shape.what}")
        scale = self._scale
        plan = ProducerPlan(
            bootstrap=source.bootstrap,
            ledger=str(self.stage.folder / "ledger"),
            history_records=scale.history_records,
            records_per_second=scale.records_per_second,
            most_records=scale.most_records,
        )
        self._workload = Workload(plan, log=self.stage.folder / "producer.log")
        self.narrator.say(
            f"A producer (librdkafka) writes {scale.history_records:,} records of history, then about "
            f"{scale.records_per_second:,} records a second without a break."
        )
        progress = self._workload.wait_for(Phase.LIVE, patience_seconds=_HISTORY_SECONDS)
        self.narrator.say(f"{progress.acknowledged:,} records are acknowledged; production goes on.")

    def _write_manifest(self, source: EmbeddedCluster, target: EmbeddedCluster) -> None:
        self.narrator.chapter("The manifest says what is to move")
        self.stage.write_manifest(_manifest_text(source, target, self._scale.copied_bytes_per_second))

    def _copy_and_kill(self, source: Witness, target: Witness) -> None:
        self.narrator.chapter("The copy begins, and is killed in the middle")
        copier = self.stage.start_copier()
        wanted = _KILL_SHARE * self._scale.history_records
        deadline = time.monotonic() + _KILL_PATIENCE_SECONDS
        while (arrived := target.count_records()) < wanted:
            if copier.poll() is not None:
                raise self.stage.copier_failed(copier)
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"{arrived:,} records are on the target after {_KILL_PATIENCE_SECONDS:.0f} s",
                    hint="the copy does not get on",
                )
            time.sleep(_POLL_SECONDS)
        copier.send_signal(signal.SIGKILL)
        copier.wait()
        self.narrator.mend_terminal()
        self.narrator.say(
            f"Process {copier.pid} was killed with SIGKILL: it could finish nothing and save nothing. At that moment "
            f"about {arrived:,} of {source.count_records():,} records were on the target. Production goes on."
        )

    def _resume(self) -> None:
        self.narrator.chapter("The same command resumes")
        self.narrator.say(
            "It asks the target how far each partition is, compares the last records of both sides and goes on "
            "there. It ends when everything is in sync, though the producer does not rest."
        )
        assert self._workload is not None
        before = self._workload.progress.sent
        self._run_until_in_sync(stop_production_after=_IN_SYNC_SECONDS / 2)
        written = self._workload.progress.sent - before
        self.narrator.say(f"In sync. Meanwhile the producer wrote {written:,} more records.")

    def _finish(self) -> None:
        self.narrator.chapter("The producer ends, and the rest is copied")
        assert self._workload is not None
        progress = self._workload.stop()
        self.narrator.say(
            f"The producer has ended: {progress.sent:,} records sent, {progress.acknowledged:,} acknowledged."
        )
        if progress.failed:
            raise DemoFailed(f"{progress.failed:,} records were not acknowledged", hint="is this machine overloaded?")
        self._run_until_in_sync()

    def _compare(self, source: Witness, target: Witness) -> int:
        self.narrator.chapter("An independent client reads both clusters")
        self.narrator.say(
            "Every record is compared: partition, offset, key, value, headers, timestamp; also with what the "
            "producer was acknowledged (lost: acknowledged, but not there as it was sent). Every record carries a "
            "number, so that one that is there twice is found."
        )
        assert self._workload is not None
        ledger = read_ledger(self._workload.ledger)
        comparison = compare_sides(source, target, ledger)
        print_table(comparison, color=self.stage.color)
        return judge(comparison, acknowledged=len(ledger), narrator=self.narrator)

    # -- the copier -----------------------------------------------------------------------------

    def _run_until_in_sync(self, *, stop_production_after: float | None = None) -> None:
        """Runs the copier to its end; a machine that cannot keep up with production is helped by stopping it."""
        copier = self.stage.start_copier("--until", "in-sync")
        try:
            copier.wait(stop_production_after or _IN_SYNC_SECONDS)
        except subprocess.TimeoutExpired:
            if stop_production_after is None or self._workload is None:
                raise DemoFailed(f"not in sync after {_IN_SYNC_SECONDS:.0f} s") from None
            self._workload.stop()
            try:
                copier.wait(_IN_SYNC_SECONDS)
            except subprocess.TimeoutExpired:
                raise DemoFailed(f"not in sync {_IN_SYNC_SECONDS:.0f} s after production ended") from None
        if copier.returncode != 0:
            raise self.stage.copier_failed(copier)


def judge(comparison: Comparison, *, acknowledged: int, narrator: Narrator) -> int:
    """Says what the comparison means; returns an exit code, 0 only if there is nothing to object to."""
    total = comparison.total
    if total.is_equal and total.records >= acknowledged > 0:
        narrator.praise(
            f"{total.records:,} records compared, {acknowledged:,} of them acknowledged: 0 differences, "
            f"0 duplicates, 0 lost, through one SIGKILL. It took {narrator.seconds:.0f} seconds."
        )
        return 0
    for finding in comparison.findings:
        narrator.warn(finding)
    narrator.warn(
        f"The clusters are not equal: {total.differences:,} differences, {total.duplicates:,} duplicates, "
        f"{total.lost:,} lost, {acknowledged:,} acknowledged."
    )
    return DIFFERENCE_FOUND


def _manifest_text(source: EmbeddedCluster, target: EmbeddedCluster, bytes_per_second: int) -> str:
    return f"""\
apiVersion: kmigrate/v1
kind: Migration
metadata:
  name: {NAME}
spec:
  source:
    clusterId: "{source.cluster_id}"   # a guard: any other cluster is refused
    properties: {{bootstrap.servers: "{source.bootstrap}"}}
  target:
    clusterId: "{target.cluster_id}"
    properties: {{bootstrap.servers: "{target.bootstrap}"}}
  topics:
    include: [".*"]                       # internal topics never move
  limits:
    bytesPerSecond: {bytes_per_second}               # so that there is something to watch
    targetFreePercent: 1                  # both clusters are on this machine; 20 by default
"""


def need_client() -> None:
    """Raises KmigrateError where the independent client is not installed."""
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        raise KmigrateError(
            "the demo reads and writes with an independent client, confluent-kafka, which is not installed",
            hint="pip install 'kmigrate[demo]'",
        ) from None
