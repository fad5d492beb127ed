"""The load generator: plans, clients, tallies. Nothing that serves uses it.

Uses base, rules and api; what drives an engine in the same process uses engine too.
"""
