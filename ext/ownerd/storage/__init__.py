"""What is on disk and what is in memory of it: log, memtables, record tree, catalog, transaction.

Also their recovery, flush, vacuum and verification. It decides nothing and knows no gRPC. Uses
base and rules.
"""
