"""What a caller asks, as C structs, and its encoding: tasks, calls, protobuf, gRPC over HTTP/2.

It holds no state and does no I/O. Uses base and rules.
"""
