"""The topics room owns which topics move, and what they are made of on the target.

`select` decides (pure), `hold` knows the settings for the time of copying (pure), `intended` those for afterwards
(pure), `describe` reads settings, `create` creates, enlarges and deletes, `restore` and `limit` are effects that
`alter` carries out; every outcome is a value.
"""
