"""The shell around the pure room `late/`: a thread that appends late records, and what proves them.

`appending` is the thread; `reading` reads the source, `writing` writes to the target and looks at it; `proving`
compares both again.
"""
