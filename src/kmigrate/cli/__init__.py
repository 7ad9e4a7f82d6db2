"""The command line: one module per command, each a thin client of the API (`run`, `demo`: of the owner).

Rule: data goes to stdout, progress and messages to stderr. An error ends with its message, a hint and the exit code
that docs/commands.md lists; a traceback is shown with --debug only.
"""

from kmigrate.cli.group import main

__all__ = ["main"]
