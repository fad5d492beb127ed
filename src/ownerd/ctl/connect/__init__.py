"""How ownerctl reaches a server: what was typed or kept in a context, the channel, what went wrong.

May use `terminal`; knows no command.
"""
