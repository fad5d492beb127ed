"""A table of an SQL database whose three columns say who owns each record, kept true by the feed.

A **comparison** makes the table equal to the list's export; from there on each revision that the
feed brings becomes one transaction, which also moves the **position** in a table beside it. So a
mirror that is killed, or whose database stops, goes on where the database says that it was. Needs
SQLAlchemy (the extra `sql`); speaks to the server through `source.Source` alone.
"""
