"""`init` writes a first manifest from two client.properties, with what the clusters suggest."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

import click

from kmigrate.cli.options import message_options
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.manifest import load_manifest
from kmigrate.plan.proposal import propose_manifest

DEFAULT_NAME = "migration"

EXAMPLES = """\b
Examples:
  kmigrate init old.properties new.properties -o orders.yaml
  kmigrate init old.properties new.properties --name orders
"""


@click.command(epilog=EXAMPLES)
@click.argument("source", metavar="SOURCE.properties", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", metavar="TARGET.properties", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it."
)
@click.option("--name", metavar="NAME", help="Names the migration.  [default: the file's name]")
@message_options
def init(source: Path, target: Path, output: Path | None, name: str | None, no_color: bool) -> None:
    """Write a commented manifest from two client.properties.

    Looks at both clusters, reads only, and proposes topics, groups, replication factor, users and a rate limit, each
    with what it follows from. No secret is copied: the manifest names the two files.
    """
    if output is not None and output.exists():
        raise UsageError(f"{output} exists", hint="choose another file with -o, or remove it first")
    name = name or (_name_of(output.stem) if output is not None else DEFAULT_NAME)
    from kmigrate.runner.propose import (
        look_for_proposal,  # the network side is imported last: usage errors come at once
    )

    with tempfile.TemporaryDirectory() as folder:
        least = Path(folder) / "manifest.yaml"
        least.write_text(_least(name, source.resolve(), target.resolve()))
        manifest = load_manifest(least)
    beside = output.resolve().parent if output is not None else Path.cwd()
    text = propose_manifest(
        look_for_proposal(manifest, source_file=_from(beside, source), target_file=_from(beside, target))
    )
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise KmigrateError(f"cannot write {output}: {error.strerror}", hint="choose another file with -o") from error
    click.echo(f"{output} is written; look at it, then: kmigrate plan -f {output}", err=True)


def _least(name: str, source: Path, target: Path) -> str:
    """The smallest manifest that reaches both clusters; JSON is YAML too."""
    return json.dumps(
        {
            "apiVersion": "kmigrate/v1",
            "kind": "Migration",
            "metadata": {"name": name},
            "spec": {"source": {"propertiesFile": str(source)}, "target": {"propertiesFile": str(target)}},
        }
    )


def _from(folder: Path, file: Path) -> str:
    """The file as a manifest in this folder names it."""
    return os.path.relpath(file.resolve(), folder)


def _name_of(stem: str) -> str:
    return re.sub(r"[^a-zA-Z0-9._-]", "-", stem)[:100].strip(".") or DEFAULT_NAME
