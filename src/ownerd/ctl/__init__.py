"""ownerctl: administer an ownerd server from the command line, over gRPC only.

`cli` is the program: it hands what was typed to `commands`, one module a noun, which ask the server
through `connect` and speak to people and files through `terminal`; a folder never imports from the
one before it. Nothing here imports the server or the native core.
"""
