"""The limits of what callers may send, of those that the core holds them to.

`ownerd.limits` has the same numbers for Python, with those that only Python checks.
"""

cdef enum:
    # of texts, in bytes of UTF-8
    LIST_ID_BYTES = 128
    RECORD_ID_BYTES = 128
    CAMPAIGN_ID_BYTES = 80
    CAMPAIGN_NAME_BYTES = 256
    DIALER_ID_BYTES = 80
    WRAP_UP_CODE_BYTES = 64
    CATEGORY_BYTES = 64               # of a wrap-up code
    PRINCIPAL_ID_BYTES = 128
    REQUEST_ID_BYTES = 64
    # of one call
    BATCH_RECORDS = 10_000
