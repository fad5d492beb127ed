"""What exactly runs here: the version, the commit that it was built of, and its parts."""

import platform
import ssl
from collections.abc import Mapping
from importlib import metadata, resources

import ownerd

UNKNOWN = "unknown"
_PACKAGES = ("grpcio", "protobuf", "cryptography", "cheroot", "msgspec")


def commit() -> str:
    """Return the commit that this was built of, `-dirty` if more than that; or `unknown`."""
    try:
        text = (resources.files("ownerd") / "commit.txt").read_text(encoding="ascii")
    except OSError:
        return UNKNOWN
    return text.strip() or UNKNOWN


def parts() -> Mapping[str, str]:
    """Return the versions of what runs here, by name."""
    return {
        "ownerd": ownerd.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "lmdb": _lmdb(),
        **_http2(),
        **{name: _installed(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _lmdb() -> str:
    try:
        from ownerd.native import lmdb_version
    except ImportError:
        return "none: this installation cannot serve"
    return ".".join(map(str, lmdb_version()))


def _http2() -> Mapping[str, str]:
    """Return what the native listeners are built on; Python's own OpenSSL where there are none."""
    try:
        from ownerd.native import http2_versions
    except ImportError:
        http2_versions = None
    if http2_versions is None:
        return {"openssl": ssl.OPENSSL_VERSION, "nghttp2": "none: grpcio serves both ports"}
    openssl, nghttp2 = http2_versions()
    return {"openssl": openssl, "nghttp2": nghttp2}


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return UNKNOWN
