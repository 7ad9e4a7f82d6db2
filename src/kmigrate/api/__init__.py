"""The API room lets commands talk to the owner of a migration: REST over a unix socket, no logic.

`app` is the application over a desk, `server` serves it from the owner, `client` is what commands use. A
command without an owner runs the same application in its own process.
"""
