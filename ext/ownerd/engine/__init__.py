"""The one writer of a store: queue, group commit, decisions, commands, snapshots, maintenance.

`engine.engine` is its face to Python. It knows no sockets. Uses base, rules, storage and api.
"""
