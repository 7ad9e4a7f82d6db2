"""Verifies the rest of a topic while its writers wait: in this process, as what is left is little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kmigrate.errors import KmigrateError, Refused
from kmigrate.kafka_types import Offset, Partition, Side, TopicName
from kmigrate.manifest import Manifest
from kmigrate.runner.leaders import ClusterLeaders
from kmigrate.runner.log_pieces import Pace
from kmigrate.runner.start import Reach
from kmigrate.runner.verify import Memory, Progress, Scope, Verifier
from kmigrate.runner.verify_partition import Mode, Outcome, Sides, Task, verify_partition
from kmigrate.runner.verify_rows import Wish
from kmigrate.runner.verify_worker import Told


def verify_here(
    manifest: Manifest,
    memory: Memory,
    reach: Mapping[Side, Reach],
    topic: TopicName,
    ends: Mapping[Partition, Offset],
) -> str:
    """Verifies a topic up to these offsets of the source; what is missing, empty if nothing is.

    Raises Refused where something differs, KmigrateError where something could not be compared.
    """
    if _is_verified(memory, topic, ends):
        return ""

    def work(tasks: Sequence[Task]) -> Iterator[Told | Outcome]:
        leaders = ClusterLeaders(reach[Side.SOURCE]), ClusterLeaders(reach[Side.TARGET])
        try:
            for task in tasks:
                yield verify_partition(task, Sides(*leaders), Pace(), lambda _to, _amounts: None)
        finally:
            for each in leaders:
                each.close()

    document = Verifier(manifest=manifest, memory=memory, report=_tell_nobody, work=work).run(
        Scope(topic), Wish(mode=Mode.RECORDS)
    )
    if document.different:
        first = document.different[0]
        raise Refused(
            f"{first.name} differs: `kmigrate verify -f FILE -t {topic} --stored` names the offset",
            hint="writers are free again where they were; find out why before you go on",
        )
    if document.unknown:
        first = document.unknown[0]
        raise KmigrateError(f"{first.name} could not be compared: {first.reason}", hint=first.hint)
    if not _is_verified(memory, topic, ends):
        return f"topic {topic} is verified, but not up to where it was frozen yet"
    return ""


def _is_verified(memory: Memory, topic: TopicName, ends: Mapping[Partition, Offset]) -> bool:
    reached = {each.partition: each.end for each in memory.verifications(Mode.RECORDS) if each.topic == topic}
    return all((reached.get(number) or 0) >= end for number, end in ends.items())


def _tell_nobody(_progress: Progress) -> None:
    return
