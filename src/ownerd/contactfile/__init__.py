"""Contact files: the one reader of the CSV files that carry records and their owners.

From left to right, a module imports nothing from one to its right:

    faults -> source -> text -> rows -> header -> instants -> damage -> values -> reader
    -> repeats -> check

Bytes become lines of text, numbered as an editor does, lines become rows of cells, the header says
which cells are ours, and what they hold becomes a typed row, or a refusal with its line and reason.
A file with the column `ownerd_acquired` is an export of ownerd, and every cell in it is literal,
as long as nothing shows that another program has saved it since.

Nothing here knows gRPC, a command line or a terminal, and no memory grows with the file.
"""
