"""The limits of what may be sent, as the API states them: of texts in bytes of UTF-8, of counts.

Everything that checks one before the core does takes it from here. The core has its own table,
`rules/limits.pxd`, for the ones that it checks, so that neither the client nor ownerctl needs the
core to know them; a test holds the two equal.
"""

LIST_ID_BYTES = 128
RECORD_ID_BYTES = 128
CAMPAIGN_ID_BYTES = 80
CAMPAIGN_NAME_BYTES = 256
DIALER_ID_BYTES = 80
WRAP_UP_CODE_BYTES = 64
CATEGORY_BYTES = 64
PRINCIPAL_ID_BYTES = 128
REQUEST_ID_BYTES = 64
REASON_BYTES = 1_024
CERTIFICATE_NAME_BYTES = 256
ACTION_BYTES = 128
NODE_BYTES = 64

BATCH_RECORDS = 10_000
FILTER_CAMPAIGNS = 1_000
PAGE_ITEMS = 10_000
RATE_PER_S = 1_000_000_000
