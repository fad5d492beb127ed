"""The log of several nodes, kept by etcd: its client, the log over it, who leads and who follows.

Uses base and storage. Nothing of consensus or election is here: etcd decides, by transactions that
compare. Without nghttp2 it is not built, and there are no clusters.
"""
