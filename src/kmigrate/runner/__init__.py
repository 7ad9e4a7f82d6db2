"""The runner room is the imperative shell of one migration: observe, decide, persist, act.

`folder` says who owns a migration, `desk` takes the operator's decisions, `status` says how things stand.
"""
