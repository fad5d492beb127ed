"""What every other folder stands on: bytes, containers, checksum, clock, queue, threads, limiter.

Also TLS, and a connection of a client that speaks gRPC, for whoever calls another server.

And the C libraries as they are declared: sockets, files, LMDB, nghttp2, OpenSSL. It knows no
record, no list and no call, and uses nothing of ours.
"""
