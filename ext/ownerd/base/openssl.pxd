"""The functions, structs and numbers of OpenSSL that we use: declarations only.

Names are OpenSSL's own, but for the `ownerd_` ones at the end: what differs between 1.1.1 and 3.
"""

from libc.stdint cimport uint64_t

cdef extern from "<openssl/bio.h>" nogil:
    ctypedef struct BIO:
        pass
    BIO *BIO_new_mem_buf(const void *, int)
    int BIO_free(BIO *)

cdef extern from "<openssl/err.h>" nogil:
    unsigned long ERR_peek_last_error()
    void ERR_clear_error()
    const char *ERR_reason_error_string(unsigned long)

cdef extern from "<openssl/asn1.h>" nogil:
    ctypedef struct ASN1_STRING:
        pass
    const unsigned char *ASN1_STRING_get0_data(const ASN1_STRING *)
    int ASN1_STRING_length(const ASN1_STRING *)

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_PKEY:
        pass
    void EVP_PKEY_free(EVP_PKEY *)

cdef extern from "<openssl/x509.h>" nogil:
    ctypedef struct X509:
        pass
    void X509_free(X509 *)
    void *X509_get_ext_d2i(const X509 *, int, int *, int *)
    int NID_subject_alt_name

cdef extern from "<openssl/x509v3.h>" nogil:
    ctypedef struct GENERAL_NAME:
        int type
    ctypedef struct GENERAL_NAMES:
        pass
    int sk_GENERAL_NAME_num(const GENERAL_NAMES *)
    GENERAL_NAME *sk_GENERAL_NAME_value(const GENERAL_NAMES *, int)
    void GENERAL_NAMES_free(GENERAL_NAMES *)
    void *GENERAL_NAME_get0_value(const GENERAL_NAME *, int *)
    int GEN_EMAIL
    int GEN_DNS
    int GEN_URI
    int GEN_IPADD

cdef extern from "<openssl/x509_vfy.h>" nogil:
    ctypedef struct X509_STORE:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    int X509_STORE_add_cert(X509_STORE *, X509 *)
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *, const char *)
    const char *X509_verify_cert_error_string(long)
    long X509_V_OK

cdef extern from "<openssl/pem.h>" nogil:
    ctypedef int (*pem_password_cb)(char *, int, int, void *) noexcept nogil
    X509 *PEM_read_bio_X509(BIO *, X509 **, pem_password_cb, void *)
    EVP_PKEY *PEM_read_bio_PrivateKey(BIO *, EVP_PKEY **, pem_password_cb, void *)

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL:
        pass
    ctypedef int (*SSL_CTX_alpn_select_cb_func)(
        SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *
    ) noexcept nogil

    const SSL_METHOD *TLS_server_method()
    const SSL_METHOD *TLS_client_method()
    int TLS1_2_VERSION

    SSL_CTX *SSL_CTX_new(const SSL_METHOD *)
    void SSL_CTX_free(SSL_CTX *)
    int SSL_CTX_set_min_proto_version(SSL_CTX *, int)
    uint64_t SSL_CTX_set_options(SSL_CTX *, uint64_t)
    uint64_t SSL_OP_NO_RENEGOTIATION
    uint64_t SSL_OP_NO_COMPRESSION
    uint64_t SSL_OP_NO_TICKET
    uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE
    uint64_t SSL_OP_PRIORITIZE_CHACHA
    long SSL_CTX_set_mode(SSL_CTX *, long)
    long SSL_MODE_ENABLE_PARTIAL_WRITE
    long SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
    long SSL_MODE_RELEASE_BUFFERS
    long SSL_CTX_set_session_cache_mode(SSL_CTX *, long)
    long SSL_SESS_CACHE_OFF
    int SSL_CTX_set_num_tickets(SSL_CTX *, size_t)
    void SSL_CTX_set_read_ahead(SSL_CTX *, int)
    long SSL_CTX_set_max_cert_list(SSL_CTX *, long)
    int SSL_CTX_set_cipher_list(SSL_CTX *, const char *)
    int SSL_CTX_set_ciphersuites(SSL_CTX *, const char *)
    int SSL_CTX_use_certificate(SSL_CTX *, X509 *)
    long SSL_CTX_add0_chain_cert(SSL_CTX *, X509 *)
    int SSL_CTX_use_PrivateKey(SSL_CTX *, EVP_PKEY *)
    int SSL_CTX_check_private_key(const SSL_CTX *)
    X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *)
    int SSL_CTX_set_default_verify_paths(SSL_CTX *)
    int SSL_CTX_add_client_CA(SSL_CTX *, X509 *)
    void SSL_CTX_set_verify(SSL_CTX *, int, void *)
    int SSL_VERIFY_PEER
    int SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    int SSL_CTX_set_session_id_context(SSL_CTX *, const unsigned char *, unsigned int)
    void SSL_CTX_set_alpn_select_cb(SSL_CTX *, SSL_CTX_alpn_select_cb_func, void *)
    int SSL_CTX_set_alpn_protos(SSL_CTX *, const unsigned char *, unsigned int)
    int SSL_TLSEXT_ERR_OK
    int SSL_TLSEXT_ERR_ALERT_FATAL

    SSL *SSL_new(SSL_CTX *)
    void SSL_free(SSL *)
    int SSL_set_fd(SSL *, int)
    void SSL_set_accept_state(SSL *)
    void SSL_set_connect_state(SSL *)
    int SSL_do_handshake(SSL *)
    int SSL_read(SSL *, void *, int)
    int SSL_write(SSL *, const void *, int)
    int SSL_has_pending(const SSL *)
    int SSL_shutdown(SSL *)
    int SSL_get_error(const SSL *, int)
    int SSL_ERROR_WANT_READ
    int SSL_ERROR_WANT_WRITE
    int SSL_ERROR_ZERO_RETURN
    void SSL_get0_alpn_selected(const SSL *, const unsigned char **, unsigned int *)
    long SSL_get_verify_result(const SSL *)
    int SSL_set1_host(SSL *, const char *)
    long SSL_set_tlsext_host_name(SSL *, const char *)
    X509_VERIFY_PARAM *SSL_get0_param(SSL *)

cdef extern from *:
    """
    #include <openssl/ssl.h>
    #if OPENSSL_VERSION_NUMBER < 0x30000000L
    #define ownerd_peer_certificate SSL_get_peer_certificate
    #define OWNERD_OP_EOF_IS_AN_END 0
    #else
    #define ownerd_peer_certificate SSL_get1_peer_certificate
    #define OWNERD_OP_EOF_IS_AN_END SSL_OP_IGNORE_UNEXPECTED_EOF
    #endif
    """
    X509 *ownerd_peer_certificate(const SSL *) noexcept nogil
    uint64_t OWNERD_OP_EOF_IS_AN_END
