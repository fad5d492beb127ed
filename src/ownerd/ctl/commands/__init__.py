"""What ownerctl can be told: one module a noun, and the options that they share.

May use `connect` and `terminal`; nothing but `ownerd.ctl.cli` uses it.
"""
