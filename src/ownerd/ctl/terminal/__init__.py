"""What ownerctl reads and writes on this side: output, files, times, questions and exit codes.

Knows no server and no command.
"""
