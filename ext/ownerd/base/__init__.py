"""What every other folder stands on: bytes, containers, checksum, clock, queue, threads, limiter.

Also the C libraries as they are declared: sockets, LMDB, nghttp2, OpenSSL. It knows no record, no
list and no call, and uses nothing of ours.
"""
