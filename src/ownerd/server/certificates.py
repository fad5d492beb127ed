"""What a certificate says: the names in it, spelt as in Principal, and when it ends.

Every listener that Python serves takes the names from here. The native one spells them by itself
(`ownerd.base.tls`), without the GIL; a test holds the two together.

Any thread.
"""

import socket
from collections.abc import Iterator
from functools import lru_cache

from cryptography import x509

# Other kinds of names stand for nobody.
_KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "DNS",
    x509.UniformResourceIdentifier: "URI",
    x509.RFC822Name: "email",
}
_FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}
# Those of whoever calls again and again; read anew when it was forgotten.
_REMEMBERED = 256


@lru_cache(_REMEMBERED)
def names_in(pem: bytes) -> tuple[str, ...]:
    """Return the subject alternative names in a certificate: `DNS:...`, `URI:...`, `IP:...`.

    None of one that cannot be read: it stands for nobody.
    """
    try:
        extensions = x509.load_pem_x509_certificate(pem).extensions
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (
        ValueError,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.UnsupportedGeneralNameType,
    ):
        return ()
    return tuple(_spelt(found))


def expiry_s(pem: bytes) -> float:
    """Return the Unix time at which a certificate ends.

    Raises:
        ValueError: it cannot be read.
    """
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


def _spelt(names: x509.SubjectAlternativeName) -> Iterator[str]:
    for name in names:
        if kind := _KINDS.get(type(name)):
            # One that holds a NUL would pass for another where texts end at it.
            if "\0" not in name.value:
                yield f"{kind}:{name.value}"
        elif isinstance(name, x509.IPAddress):
            packed = getattr(name.value, "packed", b"")  # a network has none
            if family := _FAMILIES.get(len(packed)):
                yield f"IP:{socket.inet_ntop(family, packed)}"
