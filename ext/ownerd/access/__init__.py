"""Who may do what: the table of principals and rights that every listener asks.

Uses base and api; it stores nothing.
"""
