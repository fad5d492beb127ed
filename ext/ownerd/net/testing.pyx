"""What tests ask of the native listener; built only with OWNERD_TESTING=1."""

from ownerd.base.containers cimport string
from ownerd.base.openssl cimport X509
from ownerd.base.tls cimport add_names, certificates_of, free_certificates


def names_in(bytes certificate_pem):
    """Return the subject alternative names in a certificate, spelt as for a connection's peer.

    Raises:
        ValueError: it is no certificate in PEM.
    """
    cdef string found
    certificates = certificates_of(certificate_pem, "certificate")
    add_names(&found, <const X509 *> <size_t> certificates[0])
    free_certificates(certificates)
    text = <bytes> found.data()[:found.size()]
    return [name.decode("utf-8", "replace") for name in text.split(b"\0") if name]
