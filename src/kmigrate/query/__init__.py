"""Finding and reading records on both clusters side by side, as consumers see them.

`contents`, `conditions`, `batches`, `scanning`, `ordering`, `places`, `pairing`, `differences`, `minutes` and `views`
decide and are pure; `sides` reads, and `search`, `following`, `comparing` and `counting` are the shells of the four
commands.
"""
