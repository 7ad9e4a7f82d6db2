"""The long runs: every cell of every fault test, resumable. `python -m tests.long --help`."""
