"""A client certificate says who one is: on every listener, beside and instead of a token."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from guarded_server import DEADLINE_S, GuardedServer, bearer, grants, status
from harness import CHANNEL_OPTIONS, listeners
from tls_files import Authority, Files, Pair, context

from ownerd.v1 import admin_pb2, admin_pb2_grpc, dial_pb2, dial_pb2_grpc

CA, CLIENT_CA = Authority(), Authority()
LIST = "customers"
ROOT = CLIENT_CA.issue("root.example")
NAMES = {
    "DNS:dialer.example": "dialer.example",
    "email:dialer@example.com": "dialer@example.com",
    "IP:10.1.2.3": "10.1.2.3",
    "IP:2001:db8::1": "2001:db8::1",
}


class Secure:
    """A server that asks for certificates and for who one is."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.directory = directory
        files = Files(directory / "tls", CA.issue(), CLIENT_CA.pem)
        self.process = GuardedServer(
            directory / "data",
            *listeners(kind),
            "--metrics-listen",
            "127.0.0.1:0",
            *files.arguments,
        )

    def channel(self, listener: str, pair: Pair) -> grpc.Channel:
        address = self.process.address(listener)
        credentials = grpc.ssl_channel_credentials(CA.pem, pair.key, pair.certificate)
        return grpc.secure_channel(str(address), credentials, options=CHANNEL_OPTIONS)

    def claims(self, listener: str, pair: Pair, campaign_id: str, token: str | None = None) -> str:
        """Return the code that a claim with a certificate, and perhaps a token, ends with."""
        request = dial_pb2.ClaimRequest(list_id=LIST, record_id="1", campaign_id=campaign_id)
        with self.channel(listener, pair) as channel:
            stub = dial_pb2_grpc.DialServiceStub(channel)
            return status(stub.Claim, request, metadata=bearer(token), timeout=DEADLINE_S)[0]

    @property
    def root(self) -> str:
        return self.process.token_file.read_text().strip()

    def make(self, principal: admin_pb2.Principal, pair: Pair = ROOT) -> str:
        """Make a principal; return its token."""
        with self.channel("admin", pair) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            request = admin_pb2.CreatePrincipalRequest(principal=principal)
            answer = stub.CreatePrincipal(request, metadata=bearer(self.root), timeout=DEADLINE_S)
            return str(answer.token)

    def scrape(self, pair: Pair, token: str | None = None) -> int:
        """Return the HTTP status of the metrics page."""
        url = f"https://{self.process.address('metrics')}/metrics"
        request = urllib.request.Request(url, headers=dict(bearer(token)))
        tls: ssl.SSLContext = context(CA.pem, pair, alpn=(), directory=self.directory)
        try:
            with urllib.request.urlopen(request, context=tls, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture(scope="module", params=["native", "grpcio"])
def secure(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secure]:
    if request.param == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    made = Secure(tmp_path_factory.mktemp("certificates"), str(request.param))
    with made.process:
        with made.channel("admin", ROOT) as channel:
            admin_pb2_grpc.AdminServiceStub(channel).CreateContactList(
                admin_pb2.CreateContactListRequest(list_id=LIST),
                metadata=bearer(made.root),
                timeout=DEADLINE_S,
            )
        yield made


def test_every_kind_of_name_stands_for_its_principal_on_both_ports(secure: Secure) -> None:
    for number, name in enumerate(NAMES):
        secure.make(
            admin_pb2.Principal(
                principal_id=name,
                certificate_names=[name],
                grants=grants(["dial"], [LIST], [f"c{number}"]),
            )
        )
    for number, text in enumerate(NAMES.values()):
        pair = CLIENT_CA.issue("nobody.example", text)
        for listener in ("dial", "admin"):
            assert secure.claims(listener, pair, f"c{number}") == "OK", text
            assert secure.claims(listener, pair, "other") == "PERMISSION_DENIED"


def test_a_certificate_that_stands_for_nobody_is_not_enough(secure: Secure) -> None:
    pair = CLIENT_CA.issue("stranger.example", "xdialer.example", "dialer.example.com")
    for listener in ("dial", "admin"):
        assert secure.claims(listener, pair, "c") == "UNAUTHENTICATED"
        assert secure.claims(listener, pair, "c", secure.root) == "OK"


def test_a_token_counts_before_a_certificate_also_when_it_is_wrong(secure: Secure) -> None:
    secure.make(
        admin_pb2.Principal(
            principal_id="by-name",
            certificate_names=["DNS:by-name.example"],
            grants=grants(["dial"], [LIST], ["by-name"]),
        )
    )
    token = secure.make(
        admin_pb2.Principal(principal_id="by-token", grants=grants(["dial"], [LIST], ["by-token"]))
    )
    pair = CLIENT_CA.issue("by-name.example")
    for listener in ("dial", "admin"):
        assert secure.claims(listener, pair, "by-name") == "OK"
        assert secure.claims(listener, pair, "by-token", token) == "OK"
        assert secure.claims(listener, pair, "by-name", token) == "PERMISSION_DENIED"
        assert secure.claims(listener, pair, "by-name", token[:-1] + "_") == "UNAUTHENTICATED"


def test_a_name_that_is_taken_away_counts_no_more_on_an_open_connection(secure: Secure) -> None:
    principal = admin_pb2.Principal(
        principal_id="leaver",
        certificate_names=["DNS:leaver.example"],
        grants=grants(["dial", "admin"], []),
    )
    secure.make(principal)
    request = dial_pb2.ClaimRequest(list_id=LIST, record_id="2", campaign_id="leaver")
    pair = CLIENT_CA.issue("leaver.example")
    with secure.channel("dial", pair) as dial, secure.channel("admin", pair) as admin:
        stub = dial_pb2_grpc.DialServiceStub(dial)
        assert stub.Claim(request, timeout=DEADLINE_S).decision
        del principal.certificate_names[:]
        admin_pb2_grpc.AdminServiceStub(admin).UpdatePrincipal(
            admin_pb2.UpdatePrincipalRequest(principal=principal), timeout=DEADLINE_S
        )
        code, _ = status(stub.Claim, request, timeout=DEADLINE_S)
        assert code == "UNAUTHENTICATED"


def test_the_metrics_page_is_for_whoever_may_view(secure: Secure) -> None:
    viewer = secure.make(
        admin_pb2.Principal(
            principal_id="prometheus",
            certificate_names=["DNS:prometheus.example", "IP:2001:db8::9"],
            grants=grants(["view"], ["none"]),
        )
    )
    dialer = secure.make(admin_pb2.Principal(principal_id="no-viewer", grants=grants(["dial"])))
    assert secure.scrape(ROOT) == 401
    assert secure.scrape(ROOT, dialer) == 403
    assert secure.scrape(ROOT, viewer) == 200
    assert secure.scrape(ROOT, viewer + "x") == 401
    assert secure.scrape(CLIENT_CA.issue("prometheus.example")) == 200
    assert secure.scrape(CLIENT_CA.issue("2001:db8::9")) == 200
    assert secure.scrape(CLIENT_CA.issue("prometheus.example"), dialer) == 403
