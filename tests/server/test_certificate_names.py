"""The names in a certificate are spelt by the native listener and by Python, and alike."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tls_files import FUTURE, LONG, Authority

from ownerd.server import certificates

CA = Authority()
SPELT = [
    "DNS:dialer.example",
    "DNS:*.example",
    "IP:192.0.2.7",
    "IP:2001:db8::7",
    "IP:::ffff:192.0.2.7",
    "URI:spiffe://example/dialer",
    "email:dialer@example.org",
]
NAMES = [
    x509.DNSName("dialer.example"),
    x509.DNSName("victim.example\0.evil.example"),
    x509.DNSName("*.example"),
    x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    x509.IPAddress(ipaddress.ip_address("2001:db8::7")),
    x509.IPAddress(ipaddress.ip_address("::ffff:192.0.2.7")),
    x509.IPAddress(ipaddress.ip_network("10.0.0.0/8")),
    x509.UniformResourceIdentifier("spiffe://example/dialer"),
    x509.RFC822Name("dialer@example.org"),
    x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "directory")])),
]


def made(names: list[x509.GeneralName], common_name: str = "common.example") -> bytes:
    """Return a certificate of these names, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    building = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(LONG["not_before"])
        .not_valid_after(LONG["not_after"])
    )
    if names:
        building = building.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return building.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("names", "spelt"), [(NAMES, SPELT), ([], [])], ids=["of every kind", "only a common name"]
)
def test_both_spell_the_names_alike(names: list[x509.GeneralName], spelt: list[str]) -> None:
    native = pytest.importorskip("ownerd.net.testing", reason="built without libnghttp2")
    pem = made(names)
    assert list(certificates.names_in(pem)) == spelt
    assert native.names_in(pem) == spelt


def test_what_cannot_be_read_stands_for_nobody() -> None:
    assert certificates.names_in(b"no certificate") == ()


def test_the_end_is_that_of_the_first_certificate_in_a_file() -> None:
    file = CA.issue(**FUTURE).certificate + CA.issue(**LONG).certificate
    assert certificates.expiry_s(file) == int(FUTURE["not_after"].timestamp())
    with pytest.raises(ValueError):
        certificates.expiry_s(b"no certificate")
