"""The tree of commands and the one place where errors become messages and exit codes.

Rule: only this module decides how a command ends. Commands are imported when they are asked for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from importlib import import_module
from typing import Any, NoReturn

import click

from kmigrate import __version__
from kmigrate.cli.interrupts import INTERRUPTED, Interrupts, noted_interrupts
from kmigrate.errors import KmigrateError

COMMANDS: dict[str, str] = {
    "init": "Write a commented manifest from two client.properties.",
    "check": "Find what would go wrong; reads only.",
    "plan": "Show what a copy would do and cost; reads only.",
    "apply": "Create topics, settings, rules, quotas and users on the target.",
    "run": "Copy: in the foreground, until it is ended.",
    "serve": "Hold any number of migrations, with a REST API.",
    "status": "Show how a migration stands, or all of them.",
    "pause": "Stop all copying until `resume`.",
    "resume": "End a pause, or answer a stop.",
    "throttle": "Limit the bytes copied a second.",
    "retention": "Raise how long the source keeps records, or restore it.",
    "fence": "Keep applications from writing to topics for a while.",
    "group": "Show consumer groups on both sides, and decide about them.",
    "cutover": "Lead the service over, step by step, and back.",
    "verify": "Compare what both clusters hold; exit 3 if it differs.",
    "report": "Account for everything that was done, with the evidence.",
    "offsets": "Translate offsets, or export where everything went.",
    "message": "Show records of both clusters side by side, and compare them.",
    "demo": "Watch a whole migration between two embedded clusters.",
}
"""Name → one line. Each has a module of its name with a command of its name."""

MODULES = {"group": "groups"}
"""Where the module has another name than the command."""

HELP = """Move live Kafka services between clusters, with identical offsets.

\b
A first migration:
  kmigrate demo                    see it happen, nothing to set up
  kmigrate init old.properties new.properties -o orders.yaml
  kmigrate check -f orders.yaml    reach, rights, room and risks; reads only
  kmigrate plan -f orders.yaml     classes, costs and risks; reads only
  kmigrate apply -f orders.yaml    topics, settings, ACLs, quotas, users
  kmigrate run -f orders.yaml      copy; Ctrl-C ends, a second run resumes
  kmigrate status -f orders.yaml   state, next step and stops
  kmigrate verify -f orders.yaml   both clusters are read again and compared
  kmigrate cutover status -f orders.yaml   the service moves, step by step
  kmigrate report -f orders.yaml   the evidence, as Markdown, HTML or JSON
  kmigrate serve                   the same as a service, for many of them

What this version does: it creates the selected topics on the target, holds them (nothing expires there) and
copies records with identical offsets, headers and timestamps, for as long as it runs: also of logs that were
trimmed, compacted, or written in transactions, and those of old formats. Consumer groups follow, until they are
used on the target. What cannot be copied exactly stops its partition, with the offset and the reason. `serve`
holds any number of migrations, with a REST API. Both clusters must be Kafka 2.8 or newer.

`message` shows records of both clusters side by side, and compares the newest. `fence` keeps applications from
writing, with a deadline and a recorded way back.

`cutover` leads the service over by spec.scheme of the manifest: which step comes next, what is missing, who does
what, and the way back. Topics stay under hold on the target until their cutover lifts it.

\b
Exit codes:
  0 done   1 failed   2 usage or manifest   3 a difference was found
  4 blocked by a check, or stopped partitions
  5 a gate or time limit was not reached
  6 refused: wrong cluster, drift, another owner
  130 interrupted
"""


class CommandTree(click.Group):
    """A group whose commands are imported when they are used, and whose errors end as the docs say."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"kmigrate.cli.{MODULES.get(cmd_name, cmd_name)}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        with noted_interrupts() as interrupts:
            return self._invoke(ctx, interrupts)

    def _invoke(self, ctx: click.Context, interrupts: Interrupts) -> Any:
        try:
            return super().invoke(ctx)
        except KmigrateError as error:
            _trace_if_asked(ctx)
            _tell_error(ctx, error)
            ctx.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _end_quietly()
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:  # noqa: BLE001  the outermost edge: no traceback reaches a user
            if interrupts.asked:  # a library made an error of its own of it
                click.echo("interrupted", err=True)
                ctx.exit(INTERRUPTED)
            _trace_if_asked(ctx)
            click.echo(f"kmigrate: unexpected: {type(error).__name__}: {error}", err=True)
            click.echo("hint: this is a defect; run again with --debug to see where", err=True)
            ctx.exit(1)


def _tell_error(ctx: click.Context, error: KmigrateError) -> None:
    """Says on stderr what happened and what to do, with command lines that can be pasted."""
    spell = (ctx.obj or {}).get("spell", str)
    click.echo(f"kmigrate: {error}", err=True)
    if error.hint:
        click.echo(f"hint: {spell(error.hint)}", err=True)


def _trace_if_asked(ctx: click.Context) -> None:
    if (ctx.obj or {}).get("debug"):
        traceback.print_exc()


def _end_quietly() -> NoReturn:
    """Ends after the reader of a pipe went away, as `head` does."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


@click.command(cls=CommandTree, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kmigrate", message="%(prog)s %(version)s")
@click.pass_context
def commands(ctx: click.Context) -> None:
    ctx.obj = {}


def main() -> None:
    """The entry point of the `kmigrate` command."""
    commands(prog_name="kmigrate")
