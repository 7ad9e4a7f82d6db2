"""Records of the source that came late: appended to the target's partition once, beside what applications write there.

Rule: the ordinary copy has ended at a known place; from there on offsets differ, and order across the clusters is given
up. Each record still arrives exactly once. What is to be appended is decided, and kept, before it is sent, one batch of
a partition at a time; what became of it is read from the target, never guessed. All of this room is pure.

`values` are what is kept; `gathering` makes a batch of what the source shows; `partition` is the machine of one
partition; `searching` finds what became of a batch; `comparing` proves what was appended.
"""
