"""Speed and memory are measured here against real brokers; a test never asserts a duration.

::

    __main__.py     the command line: cases by name, --short, --readme
    figures.py      medians, spreads, ratios, slopes, goals                             (pure)
    proc.py         what /proc says about processes: CPU, PSS, RSS
    machine.py      what machine and which versions the figures belong to
    report.py       results as JSON, as tables, and the table in the README
    lab.py          two embedded clusters, their topics and their records
    programs.py     kmigrate and MirrorMaker 2 as processes, as their users start them
    watch.py        one copy watched from outside: end offsets and /proc
    <case>.py       throughput, memory, first_record, idle, latency: one `measure` each
    profiling.py    one pipeline under cProfile

Rule: a figure is written by a run, never by hand, and stands beside the machine it was taken on.
"""
