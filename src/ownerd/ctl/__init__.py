"""ownerctl: administer an ownerd server from the command line, over gRPC only.

`cli` is the program: it hands what was typed to `commands`, one module a noun, which ask the server
through `connect` and speak to people and files through `terminal`; a folder never imports from the
one before it. Nothing here imports the server or the native core.
"""

import os

# grpc's C library logs to stderr by itself, and reads this when it is first imported, by whichever
# module; what went wrong is told in one line of our own.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
