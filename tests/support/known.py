"""Principals as the native table of them takes them."""

import hashlib
from typing import Any, NamedTuple

from ownerd.access.table import RIGHTS

DIGEST = hashlib.sha256(b"one").digest()


class Known(NamedTuple):
    """A principal as `Access.replace` takes it."""

    principal_id: str = "p"
    hide_holders: bool = False
    calls_per_s: int = 0
    records_per_s: int = 0
    grants: Any = ((RIGHTS["dial"], (), ()),)
    tokens: Any = ((DIGEST, None),)
    names: Any = ()
