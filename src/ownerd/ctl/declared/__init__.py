"""A configuration as a file declares it: its form, the file, what differs, how it is brought about.

May use `terminal` and `connect`; knows no command.
"""
