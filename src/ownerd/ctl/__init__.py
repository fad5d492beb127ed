"""ownerctl: administer an ownerd server from the command line, over gRPC only.

One module per noun holds its commands; `connection` speaks to the server, `output` prints, `exits`
says how a command ends. Nothing here imports the server or the native core.
"""
