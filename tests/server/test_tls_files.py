"""Certificate files: what is refused at start and in which words, and what a change does."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness import ServerDidNotStart, ServerProcess
from prometheus_client import CollectorRegistry
from tls_files import FUTURE, LONG, NOW, PAST, Authority, Files, Pair

from ownerd.server import metrics_http, tls
from ownerd.server.addresses import Address
from ownerd.server.alarms import AlarmBoard
from ownerd.server.config import Settings
from ownerd.server.exits import ConfigError

CA = Authority()
PAIR = CA.issue()
OTHER = CA.issue()
DAY_S = 86_400


def settings(files: Files, **changes: Any) -> Settings:
    """Return settings that name the files."""
    found = {"tls_certificate": str(files.certificate), "tls_key": str(files.key)}
    return Settings(**(found | changes))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "tls", PAIR)


# ---- at start


def test_nothing_set_is_no_tls() -> None:
    assert tls.load(Settings()) is None


def test_good_files_are_material(files: Files) -> None:
    files.client_ca.write_bytes(CA.pem)
    material = tls.load(settings(files, dial_client_ca=str(files.client_ca)))
    assert material is not None
    assert (material.certificate, material.key) == PAIR
    assert material.client_cas == {"dial": CA.pem}
    assert material.expiry_s == pytest.approx(LONG["not_after"].timestamp(), abs=1)
    assert "PRIVATE" not in repr(material)


def _without(name: str) -> Callable[[Files], dict[str, Any]]:
    return lambda files: {name: ""}


def _holding(name: str, data: bytes) -> Callable[[Files], dict[str, Any]]:
    def write(files: Files) -> dict[str, Any]:
        path = files.key.parent / "odd.pem"
        path.write_bytes(data)
        return {name: str(path)}

    return write


def _named(name: str, path: str) -> Callable[[Files], dict[str, Any]]:
    return lambda files: {name: path}


BROKEN_CERTIFICATE = PAIR.certificate[:400] + b"\n-----END CERTIFICATE-----\n"
BROKEN_KEY = PAIR.key[:80] + b"\n-----END EC PRIVATE KEY-----\n"
RSA = trustme.CA(key_type=trustme.KeyType.RSA).private_key_pem.bytes()
ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without("tls_key"), ("tls_key: not set", "set both")),
        (_without("tls_certificate"), ("tls_certificate: not set", "set both")),
        (_named("tls_key", "/no/such/file"), ("tls_key: cannot read /no/such/file", "name a PEM")),
        (_named("tls_certificate", "/"), ("tls_certificate: ", "/")),
        (_named("tls_certificate", "/dev/zero"), ("tls_certificate: /dev/zero is no file",)),
        (_named("dial_client_ca", "/no/such/file"), ("dial_client_ca: cannot read",)),
        (_holding("tls_certificate", b"hello"), ("tls_certificate: ", "no certificate in PEM")),
        (_holding("tls_certificate", PAIR.key), ("tls_certificate: ", "no certificate in PEM")),
        (_holding("tls_certificate", BROKEN_CERTIFICATE), ("tls_certificate: ", "broken")),
        (
            _holding("tls_certificate", PAIR.certificate + BROKEN_CERTIFICATE),
            ("tls_certificate: ", "broken"),
        ),
        (_holding("tls_certificate", b"\xff" + PAIR.certificate), ("tls_certificate: ", "broken")),
        (_holding("tls_certificate", b" " * (2 << 20)), ("tls_certificate: ", "bytes")),
        (_holding("tls_key", b"hello"), ("tls_key: ", "no private key in PEM")),
        (_holding("tls_key", PAIR.certificate), ("tls_key: ", "no private key in PEM")),
        (_holding("tls_key", BROKEN_KEY), ("tls_key: ", "broken private key")),
        (_holding("tls_key", ENCRYPTED), ("tls_key: ", "encrypted", "openssl pkey")),
        (_holding("tls_key", OTHER.key), ("tls_key: ", "does not fit", "certificate.pem")),
        (_holding("tls_key", RSA), ("tls_key: ", "does not fit", "certificate.pem")),
        (_holding("admin_client_ca", PAIR.key), ("admin_client_ca: ", "no certificate in PEM")),
        (_holding("metrics_client_ca", BROKEN_CERTIFICATE), ("metrics_client_ca: ", "broken")),
    ],
)
def test_files_that_cannot_be_used_are_named_in_one_line(
    files: Files, change: Callable[[Files], dict[str, Any]], words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refused:
        tls.load(settings(files, **change(files)))
    message = str(refused.value)
    assert all(word in message for word in words), message
    assert message.startswith(words[0]) and "\n" not in message
    assert "PRIVATE" not in message.replace("no private key", "")


def test_client_cas_need_a_certificate_of_the_server() -> None:
    with pytest.raises(ConfigError, match="admin_client_ca: found /x"):
        tls.load(Settings(admin_client_ca="/x"))


def test_a_pipe_is_no_file_and_nobody_waits_for_it(files: Files, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match=r"tls_key: .* is no file"):
        tls.load(settings(files, tls_key=str(pipe)))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_key_that_all_may_read_is_warned_of(
    files: Files, capfd: pytest.CaptureFixture[str], mode: int, warned: bool
) -> None:
    files.key.chmod(mode)
    tls.load(settings(files))
    out, err = capfd.readouterr()
    assert ("tls_key_readable_by_all" in out + err) is warned


def test_a_server_with_unusable_files_ends_with_2(files: Files, tmp_path: Path) -> None:
    files.key.write_bytes(OTHER.key)
    with pytest.raises(ServerDidNotStart) as failure:
        ServerProcess(tmp_path / "data", *files.arguments).start()
    assert failure.value.exit_code == 2
    [line] = failure.value.log_text.splitlines()
    assert line.startswith("ownerd: tls_key: ")
    assert not (tmp_path / "data").exists()


# ---- addresses that others can reach


OPEN = "0.0.0.0:1"
SECURE = {"tls_certificate": "/c", "tls_key": "/k"}


@pytest.mark.parametrize("name", ["dial_listen", "admin_listen", "metrics_listen"])
def test_addresses_off_loopback_need_tls_or_insecure(name: str) -> None:
    at = {name: (OPEN,) if name == "dial_listen" else OPEN}
    with pytest.raises(ConfigError, match=f"^{name}: .*{OPEN}.*tls_certificate.*--insecure"):
        tls.refuse_unprotected(Settings(**at))
    tls.refuse_unprotected(Settings(**at, **SECURE))
    tls.refuse_unprotected(Settings(**at, insecure=True))


@pytest.mark.parametrize("name", ["dial_listen", "admin_listen"])
def test_addresses_off_loopback_are_not_for_no_auth_without_insecure(name: str) -> None:
    at = {name: ("127.0.0.1:1", OPEN) if name == "dial_listen" else OPEN}
    with pytest.raises(ConfigError, match=f"^no_auth: .*{OPEN} .{name}.*--insecure"):
        tls.refuse_unprotected(Settings(**at, **SECURE, no_auth=True))
    tls.refuse_unprotected(Settings(**at, **SECURE, no_auth=True, insecure=True))


def test_local_addresses_need_nothing() -> None:
    local = ("127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/x")
    tls.refuse_unprotected(Settings(dial_listen=local, no_auth=True, metrics_listen=""))


def test_a_server_that_others_could_reach_ends_with_2_and_with_insecure_warns(
    tmp_path: Path,
) -> None:
    listen = ("--dial-listen", "0.0.0.0:0")
    with pytest.raises(ServerDidNotStart) as failure:
        ServerProcess(tmp_path / "data", *listen).start()
    assert failure.value.exit_code == 2
    assert len(failure.value.log_text.splitlines()) == 1
    with ServerProcess(tmp_path / "data", *listen, "--insecure") as server:
        assert "listening_without_protection" in server.log_text


# ---- the metrics page


def test_a_client_of_the_metrics_page_that_says_nothing_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_http, "_SILENCE_S", 0.2)
    material = tls.Material(*PAIR, {}, 0.0)
    for used in (None, material):
        made = metrics_http.MetricsServer(
            CollectorRegistry(), Address("127.0.0.1"), lambda *_: None, used
        )
        try:
            with socket.create_connection(made.address[:2], 10) as silent:
                assert silent.recv(1) == b""
        finally:
            made.close()


# ---- changes


class Watched:
    """A watch over files, whose looks are taken one by one; material handed on is kept."""

    def __init__(self, files: Files, **changes: Any) -> None:
        self.files = files
        self.settings = settings(files, **changes)
        self.board = AlarmBoard()
        self.handed: list[tls.Material] = []
        self.refusal = ""
        material = tls.load(self.settings)
        assert material is not None
        self.watch = tls.Watch(self.settings, material, [self._use], self.board)
        self.look(2)

    def _use(self, material: tls.Material) -> None:
        if self.refusal:
            raise ValueError(self.refusal)
        self.handed.append(material)

    def look(self, times: int = 2) -> list[tls.Material]:
        """Look some times; return what has ever been handed on."""

        async def main() -> None:
            for _ in range(times):
                await self.watch.look()

        asyncio.run(main())
        return self.handed

    @property
    def alarms(self) -> dict[str, str]:
        return dict(self.board.up())


@pytest.fixture
def watched(files: Files) -> Watched:
    return Watched(files)


def test_files_that_stay_as_they_are_are_handed_on_to_nobody(watched: Watched) -> None:
    assert watched.look(3) == [] and watched.alarms == {}
    os.utime(watched.files.key)
    assert watched.look() == []


def _by_rename(files: Files) -> None:
    files.put(OTHER)


def _in_place(files: Files) -> None:
    # Neither size nor time may give it away.
    times = files.key.stat()
    files.certificate.write_bytes(OTHER.certificate)
    files.key.write_bytes(OTHER.key)
    os.utime(files.key, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", [_by_rename, _in_place])
def test_changed_files_are_handed_on_once_they_stay_the_same(
    watched: Watched, change: Callable[[Files], None]
) -> None:
    change(watched.files)
    assert watched.look(1) == []
    [material] = watched.look(1)
    assert (material.certificate, material.key) == OTHER
    assert len(watched.look(3)) == 1
    assert (watched.watch.reload_count, watched.watch.failure_count) == (1, 0)


def test_links_that_are_turned_as_by_kubernetes_are_followed(tmp_path: Path) -> None:
    for name, pair in (("..one", PAIR), ("..two", OTHER)):
        Files(tmp_path / name, pair)
    (tmp_path / "..data").symlink_to("..one")
    files = Files(tmp_path / "mount", PAIR)
    for path in (files.certificate, files.key):
        path.unlink()
        path.symlink_to(tmp_path / "..data" / path.name)
    watched = Watched(files)
    (tmp_path / "..new").symlink_to("..two")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    [material] = watched.look()
    assert material.key == OTHER.key


def test_a_changed_client_ca_is_handed_on(files: Files) -> None:
    files.client_ca.write_bytes(CA.pem)
    watched = Watched(files, metrics_client_ca=str(files.client_ca))
    files.client_ca.write_bytes(CA.pem + Authority().pem)
    [material] = watched.look()
    assert material.client_cas["metrics"].count(b"BEGIN") == 2


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("certificate", OTHER.certificate, ("tls_key", "does not fit")),
        ("certificate", OTHER.certificate[:300], ("tls_certificate", "broken")),
        ("key", b"", ("tls_key", "no private key")),
        ("key", None, ("tls_key", "cannot read")),
    ],
)
def test_broken_changes_keep_the_old_and_raise_an_alarm_that_clears(
    watched: Watched, name: str, data: bytes | None, words: tuple[str, ...]
) -> None:
    path: Path = getattr(watched.files, name)
    before = path.read_bytes()
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    assert watched.look(1) == [] and watched.alarms == {}, "a moment between two files is no fault"
    assert watched.look(3) == []
    message = watched.alarms["tls_reload_failed"]
    assert str(path) in message or str(watched.files.key) in message
    assert all(word in message for word in words) and "stays in use" in message
    assert watched.watch.failure_count == 1, "one fault counts once"
    path.write_bytes(before)
    assert watched.look() == [] and watched.alarms == {}
    watched.files.put(OTHER)
    assert len(watched.look()) == 1


def test_a_listener_that_refuses_material_raises_the_alarm(watched: Watched) -> None:
    watched.refusal = "no such curve"
    watched.files.put(OTHER)
    watched.look()
    assert "no such curve" in watched.alarms["tls_reload_failed"]
    assert (watched.watch.material.certificate, watched.watch.material.key) == PAIR


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (CA.issue(**PAST), "has ended"),
        (CA.issue(not_after=NOW + (LONG["not_after"] - NOW) / 10), "ends in 9.0 days"),
        (CA.issue(**FUTURE), None),
        (PAIR, None),
    ],
)
def test_a_certificate_that_has_ended_or_soon_will_raises_an_alarm_until_it_is_renewed(
    tmp_path: Path, pair: Pair, words: str | None
) -> None:
    watched = Watched(Files(tmp_path / "tls", pair))
    if words is None:
        assert watched.alarms == {}
        return
    assert words in watched.alarms["tls_certificate_expires"]
    watched.files.put(OTHER)
    watched.look()
    assert watched.alarms == {}
