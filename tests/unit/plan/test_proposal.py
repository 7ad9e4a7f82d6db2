"""A proposed manifest loads as it is, says what each value follows from, and names what was seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kmigrate.manifest import CutoverSection, Ending, FenceChoice, Manifest, Scheme, load_manifest, wishes_of
from kmigrate.plan.proposal import LISTED, SeenForProposal, propose_limit, propose_manifest

SEEN = SeenForProposal(
    name="orders",
    source_file="old.properties",
    target_file="new.properties",
    source_cluster_id="S",
    target_cluster_id="T",
    source_brokers=3,
    target_brokers=2,
    topics={"orders": 12, "pay": 1},
    left_out={"__consumer_offsets": "an internal topic"},
    replicas=3,
    groups=("readers",),
    size_bytes=360_000_000_000,
    users={"app": ("SCRAM-SHA-256", 8192), 'o"dd': ("SCRAM-SHA-512", 4096)},
)


def load(text: str, folder: Path) -> Manifest:
    (folder / "m.yaml").write_text(text)
    for name in ("old", "new"):
        (folder / f"{name}.properties").write_text(f"bootstrap.servers={name}:9092\n")
    return load_manifest(folder / "m.yaml", environ={})


def test_it_loads_as_it_is(tmp_path: Path) -> None:
    manifest = load(propose_manifest(SEEN), tmp_path)
    assert (manifest.name, manifest.source.cluster_id, manifest.target.cluster_id) == ("orders", "S", "T")
    assert manifest.replication_factor == "fit"
    assert manifest.limits.bytes_per_second == propose_limit(SEEN) == 50_000_000
    assert manifest.users == {}
    assert load(propose_manifest(replace(SEEN, replicas=2)), tmp_path).replication_factor == "source"


def test_users_load_once_their_comment_is_taken_away(tmp_path: Path) -> None:
    lines = propose_manifest(SEEN).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("  # users:"))
    text = "\n".join([*lines[:first], *(line.replace("  # ", "  ", 1) for line in lines[first:])])
    manifest = load(text, tmp_path)
    assert manifest.users["app"].password == "${env:APP_PASSWORD}"
    assert manifest.users['o"dd'].mechanism == "SCRAM-SHA-512"


def test_a_cutover_loads_once_its_comment_is_taken_away(tmp_path: Path) -> None:
    lines = propose_manifest(SEEN).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("  # scheme:"))
    ours = [line.replace("  # ", "  ", 1) for line in lines[first:] if "history:" not in line]
    last = next(number for number, line in enumerate(ours) if line.startswith("  principals:"))
    manifest = load("\n".join([*lines[:first], *ours[:last]]), tmp_path)
    assert manifest.scheme is Scheme.CONSUMERS_FIRST
    (wish,) = wishes_of(manifest)
    assert (wish.name, wish.ending, wish.fence, wish.has_way_back) == ("shop", Ending.CLEAN, FenceChoice.NONE, True)
    assert manifest.cutover == CutoverSection()


def test_it_names_what_was_seen_and_why() -> None:
    text = propose_manifest(SEEN)
    for told in (
        "selects 2 topics with 13 partitions",
        "orders (12 partitions)",
        "__consumer_offsets: an internal topic",
        "the source has 1 group:",
        "the source's topics have up to 3, the target has 2 brokers",
        "at this limit they take 2.0 hours",
    ):
        assert told in text
    silent = propose_manifest(replace(SEEN, groups=None, size_bytes=None, users=None))
    assert "does not tell its groups" in silent
    assert "does not tell sizes" in silent
    assert "users:" not in silent


def test_of_many_names_the_first_are_listed() -> None:
    many = propose_manifest(replace(SEEN, topics={f"t{number:04}": 1 for number in range(LISTED + 5)}))
    assert "… and 5 more" in many
