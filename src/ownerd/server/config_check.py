"""Checks a configuration as far as that goes beside a server that runs: `ownerd config --check`.

Nothing is opened that a server has open, and nothing is made.
"""

import os
import time
from pathlib import Path

import msgspec

from ownerd.server import exits, store, tls
from ownerd.server.config import Settings

_DAY_S = 86_400
_SOON_DAYS = 30


def check(settings: Settings) -> list[str]:
    """Check what the settings name; return what is worth a second look, one sentence each.

    Raises:
        exits.ConfigError: a server would not start with them.
        exits.StoreFailed: the store that has to be there is not.
    """
    if not settings.data:
        raise exits.ConfigError(
            "no data directory is set; set data, see 'ownerd docs configuration'"
        )
    tls.refuse_unprotected(settings)
    material = tls.load(settings)
    remarks = [] if material is None else _expiry(material.expiry_s)
    if material is None and not _is_local(settings):
        remarks.append("other machines reach it without TLS, as insecure allows")
    return [*remarks, *_store(settings)]


def _expiry(expiry_s: float) -> list[str]:
    left_days = (expiry_s - time.time()) / _DAY_S
    if left_days < 0:
        raise exits.ConfigError("tls_certificate: the certificate has expired; renew it")
    if left_days < _SOON_DAYS:
        return [f"tls_certificate: the certificate expires in {left_days:.0f} days; renew it"]
    return []


def _is_local(settings: Settings) -> bool:
    try:
        tls.refuse_unprotected(msgspec.structs.replace(settings, insecure=False))
    except exits.ConfigError:
        return False
    return True


def _store(settings: Settings) -> list[str]:
    if not store.is_store(settings.data):
        if store.is_former(settings):
            return [f"the store in {settings.data} is of an earlier version; see 'ownerd migrate'"]
        if settings.must_exist:
            raise exits.StoreFailed(
                f"there is no store in {settings.data}, and must_exist is set; mount it, or make "
                f"one with 'ownerd init --data {settings.data}'"
            )
        return [f"there is no store in {settings.data}: serve will make one; see must_exist"]
    if not os.access(Path(settings.data) / "records", os.W_OK):
        raise exits.StoreFailed(
            f"{settings.data} cannot be written by this user; run it as the one who has the store"
        )
    return []
