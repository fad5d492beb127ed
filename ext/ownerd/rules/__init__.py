"""Who owns a record: the rules as pure functions on structs, and the limits on what they take.

No I/O, no clock, no allocation. Uses base only.
"""
