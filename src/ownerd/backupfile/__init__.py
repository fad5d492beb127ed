"""Backup files: a store as of one revision, as a tar archive that tells whether it is whole.

From left to right, a module imports nothing from one to its right:

    layout -> writing -> reading

The archive is written and read as a stream, a piece at a time: neither side keeps more of it in
memory than that, nor on disk. It is an ordinary tar file, whose bytes are all determined by what is
in it; its members are, in this order:

    BACKUP.json            of which store, which revision; in which format
    log/NUMBER             segments of the log, as far as they are written; zeros follow
    records/data.mdb       the record tree
    MANIFEST.json          the SHA-256 of each of these
    MANIFEST.json.sha256   that of the manifest

Nothing here knows gRPC, a command line or what is in the files.
"""
