"""The metrics page and the status: alarms before they are up, lengths of calls, what listens."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ServerProcess, poll
from prometheus_client.parser import text_string_to_metric_families
from tls_files import Authority, Files

from ownerd.ctl import cli
from ownerd.ctl.terminal.exits import Exit
from ownerd.native import DIAL_METHODS
from ownerd.server import alarms, tls
from ownerd.server.alarms import AlarmBoard
from ownerd.v1 import admin_pb2, dial_pb2

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def server(tmp_path: Path, dial_listener: str) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--metrics-listen", "127.0.0.1:0") as process:
        yield process


def scrape(server: ServerProcess) -> Samples:
    """Return every sample of the page by name and labels."""
    address = poll(lambda: server.address("metrics"), "the metrics page")
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }


def value(samples: Samples, name: str, /, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_every_alarm_is_a_series_while_it_is_down(server: ServerProcess) -> None:
    samples = scrape(server)
    for name in alarms.NAMES:
        assert value(samples, "ownerd_alarm", name=name.upper()) == 0


def test_an_alarm_without_a_series_cannot_be_raised() -> None:
    board = AlarmBoard()
    for name in (tls.RELOAD_FAILED, tls.EXPIRES_SOON):
        board.set(name, "found")
    assert [name for name, _ in board.up()] == [tls.RELOAD_FAILED, tls.EXPIRES_SOON]
    with pytest.raises(ValueError, match="names of alarms"):
        board.set("something_else", "found")


def test_what_serves_the_dial_addresses_is_in_log_status_and_metrics(
    server: ServerProcess, dial_listener: str
) -> None:
    listening = [each for each in server.events if each["event"] == "listening"]
    assert [each.get("kind") for each in listening if each["listener"] == "dial"] == [dial_listener]
    status = server.admin_stub().GetServerStatus(admin_pb2.GetServerStatusRequest(), timeout=10)
    assert status.dial_listener == dial_listener
    about = [dict(labels) for name, labels in scrape(server) if name == "ownerd_info"]
    assert [each["dial_listener"] for each in about] == [dial_listener]


def test_lengths_of_dial_calls_are_counted_by_method(server: ServerProcess) -> None:
    policy = admin_pb2.OwnershipPolicy(enabled=True)
    server.admin_stub().CreateContactList(
        admin_pb2.CreateContactListRequest(list_id="L", policy=policy)
    )
    dial = server.dial_stub()
    for record_id in ("1", "2", "3"):
        dial.Claim(dial_pb2.ClaimRequest(list_id="L", record_id=record_id, campaign_id="A"))
    batch = dial_pb2.ClaimBatchRequest(list_id="L", campaign_id="A", record_ids=map(str, range(9)))
    dial.ClaimBatch(batch)
    dial.GetHolder(dial_pb2.GetHolderRequest(list_id="L", record_id="1"))
    samples = scrape(server)
    counts = {
        method: value(samples, "ownerd_dial_call_seconds_count", method=method)
        for method in DIAL_METHODS
    }
    assert counts == {
        "Claim": 3,
        "ClaimBatch": 1,
        "ReportAttempt": 0,
        "ReportAttemptBatch": 0,
        "GetHolder": 1,
        "GiveBack": 0,
    }
    assert value(samples, "ownerd_queue_wait_seconds_count") == 5
    # The command that made the list is no group of dials.
    assert value(samples, "ownerd_commit_duration_seconds_count") == 4
    assert value(samples, "ownerd_group_size_records_count") == 4
    assert value(samples, "ownerd_group_size_records_sum") == 12
    assert value(samples, "ownerd_group_size_records_bucket", le="1.0") == 3
    assert value(samples, "ownerd_group_size_records_bucket", le="15.0") == 4
    whole = value(samples, "ownerd_dial_call_seconds_sum", method="Claim")
    assert value(samples, "ownerd_commit_duration_seconds_sum") > 0
    assert 0 < whole < 60
    assert value(samples, "ownerd_dial_call_seconds_bucket", method="Claim", le="+Inf") == 3


def test_r26_reports_with_codes_that_nobody_knows_are_counted_until_the_code_is_added(
    server: ServerProcess,
) -> None:
    admin, dial = server.admin_stub(), server.dial_stub()
    policy = admin_pb2.OwnershipPolicy(enabled=True)
    admin.CreateContactList(admin_pb2.CreateContactListRequest(list_id="L", policy=policy))

    def shown() -> tuple[float, float]:
        samples = scrape(server)
        reports = value(samples, "ownerd_unknown_code_reports_total")
        return reports, value(samples, "ownerd_unknown_codes")

    assert shown() == (0, 0)
    attempts = [
        dial_pb2.ReportAttemptBatchRequest.Attempt(record_id=str(number), wrap_up_code=code)
        for number, code in enumerate(("Sold", "Busy", "Sold", "Gone away"))
    ]
    batch = dial_pb2.ReportAttemptBatchRequest(list_id="L", campaign_id="A", attempts=attempts)
    dial.ReportAttemptBatch(batch)
    assert shown() == (3, 2), "refused ones"
    settings = admin_pb2.StoreSettings(unknown_wrap_up_code=admin_pb2.UNKNOWN_CODE_MEANING_ATTEMPT)
    admin.UpdateStoreSettings(admin_pb2.UpdateStoreSettingsRequest(settings=settings))
    dial.ReportAttemptBatch(batch)
    assert shown() == (6, 2), "taken ones"
    code = admin_pb2.WrapUpCode(code="Sold", category="Success")
    admin.UpsertWrapUpCode(admin_pb2.UpsertWrapUpCodeRequest(code=code))
    dial.ReportAttemptBatch(batch)
    assert shown() == (7, 1), "a counter never falls"


def test_a_bench_without_a_certificate_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ownerd.load.http2", reason="built without libnghttp2")
    ours = Authority()
    files = Files(tmp_path / "tls", ours.issue(), ours.pem)
    options = ("--tls-certificate", files.certificate, "--tls-key", files.key)
    wanted = (*map(str, options), "--dial-client-ca", str(files.client_ca))
    with ServerProcess(tmp_path / "data", *wanted) as process:
        monkeypatch.setenv("OWNERD_SERVER", process.admin_address)
        monkeypatch.setenv("OWNERD_DIAL", process.dial_address)
        monkeypatch.setenv("OWNERD_CA", str(files.client_ca))
        code = cli.main(["bench", "--seconds", "1", "--warm-up", "0"])
        err = capsys.readouterr().err
        assert code == Exit.UNAVAILABLE and err.count("\n") == 1
        assert "certificate" in err and "--cert and --key" in err
