"""Speed and memory are measured here against real brokers; a test never asserts a duration.

::

    __main__.py     the command line: cases by name, --short, --readme
    figures.py      medians, spreads, ratios, slopes, goals                             (pure)
    proc.py         what /proc says about processes: CPU, PSS, RSS
    machine.py      what machine and which versions the figures belong to
    report.py       results as JSON, as tables, and the table in the README
    lab.py          two embedded clusters, their topics and their records
    programs.py     kmigrate and Kafka's load generator as processes, as their users start them
    mirror_maker.py MirrorMaker 2 as a process: tuned, as it comes, exactly once
    sink.py         a broker that only acknowledges
    watch.py        one copy watched from outside: end offsets and /proc
    witness.py      what librdkafka finds on a broker
    copying.py      one copy by one tool, and the warming up before those that count
    turns.py        both tools copy the same topic in turns, compared round by round
    <case>.py       one `measure` each: tuning (of MirrorMaker 2), throughput (of many shapes), peers (all tools), relay
                    (into the sink), spread (many partitions), transactional, compacted, alignment, memory,
                    first_record, idle (a thousand partitions, and ten thousand), latency, groups
    profiling.py    one pipeline under cProfile

Rule: a figure is written by a run, never by hand, and stands beside the machine it was taken on.
"""
