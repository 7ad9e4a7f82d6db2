"""The schemes lead a service from one cluster to the other, step by step.  (pure)

`wave` says what moves, `facts` what was seen; `rows` and `tables` are the steps of each scheme as data, `gates` and
`checks` say when a step may be left, `effects` what leaving it does. `cutover` is where a wave stands, `events` what
happens to it, `machine.decide` what follows. `invariants` are the laws that every such state keeps; `telling` says it
to the operator. `order` and `crossings` are looked at before anything begins.
"""
