"""`message` shows the records of both clusters side by side, and compares them."""

from __future__ import annotations

import click

from kmigrate.cli.message_compare import diff, rate
from kmigrate.cli.message_find import query, tail

EXAMPLES = """\b
Examples:
  kmigrate message query -f orders.yaml -t orders --key customer-17
  kmigrate message tail -f orders.yaml -t orders
  kmigrate message diff -f orders.yaml
  kmigrate message rate -f orders.yaml
"""


@click.group(epilog=EXAMPLES)
def message() -> None:
    """Show the records of both clusters side by side, and compare them.

    Reads only, with and without a running owner. Records are shown as a consumer with read_committed sees them.
    """


for each in (query, tail, diff, rate):
    message.add_command(each)
