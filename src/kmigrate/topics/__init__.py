"""The topics room owns which topics move, and what they are made of on the target.

`select` decides (pure), `hold` knows the settings for the time of copying (pure), `describe` reads settings,
`create` creates, enlarges and deletes; every outcome is a value.
"""
