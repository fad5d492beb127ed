"""The files for the services around a server: right by their own tools, and about what there is."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from harness import ServerProcess
from metric_names import asked_for, of_clusters, shown_on
from tls_files import Authority, Files

from ownerd.server import cli, config, exits, papers

SUPPORT = Path(__file__).parent.parent / "support"


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def ownerd(*arguments):
    return run(sys.executable, "-m", "ownerd.server", *map(str, arguments))


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here")


@pytest.fixture(scope="module")
def contrib(tmp_path_factory):
    directory = tmp_path_factory.mktemp("contrib")
    papers.write_contrib(directory)
    return directory


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    """The metrics page of a server with TLS and native listeners: every metric is there."""
    pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    directory = tmp_path_factory.mktemp("metrics")
    authority = Authority()
    files = Files(directory / "tls", authority.issue())
    tls = ("--tls-certificate", str(files.certificate), "--tls-key", str(files.key))
    (directory / "ca.pem").write_bytes(authority.pem)
    with ServerProcess(directory / "data", "--metrics-listen", "127.0.0.1:0", *tls) as server:
        import ssl

        context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
        url = f"https://{server.address('metrics')}/metrics"
        yield urllib.request.urlopen(url, timeout=30, context=context).read().decode()


def test_every_metric_that_rules_and_dashboard_name_is_there(contrib, metrics):
    panels = json.loads((contrib / "ownerd-dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    named = asked_for(contrib)
    named -= of_clusters(named)  # tests/cluster looks for these
    assert len(named) > 25
    assert named - shown_on(metrics) == set()


def test_names_and_units_of_metrics_are_as_prometheus_asks(metrics):
    need("promtool")
    done = run("promtool", "check", "metrics", input=metrics)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_alert_rules_fire_when_they_should_and_not_before(contrib, tmp_path):
    need("promtool")
    rules = contrib / "ownerd-alerts.yml"
    tests = tmp_path / "tests.yml"
    tests.write_text((SUPPORT / "alert_tests.yml").read_text().replace("RULES", str(rules)))
    done = run("promtool", "test", "rules", str(tests))
    assert done.returncode == 0, done.stdout + done.stderr
    fired = set(re.findall(r'alertname="(\w+)"', tests.read_text()))
    assert fired == set(re.findall(r"alert: (\w+)", rules.read_text())), "each is tested"


@pytest.mark.parametrize("name", ["ownerd", "ownerd-etcd"])
def test_the_units_are_right_for_systemd_and_hardened(contrib, name):
    need("systemd-analyze")
    if name == "ownerd-etcd":
        need("/usr/bin/etcd")
    unit = contrib / f"{name}.service"
    done = run("systemd-analyze", "verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_guards_the_store_and_restarts_only_what_that_can_mend(contrib):
    unit = (contrib / "ownerd.service").read_text()
    assert papers.PROGRAM not in unit and " --must-exist" in unit and "Type=notify" in unit
    (listed,) = re.findall(r"^RestartPreventExitStatus=(.*)$", unit, re.M)
    assert set(map(int, listed.split())) == {
        exits.USAGE,
        exits.STORE_IN_USE,
        exits.STORE_FAILED,
        exits.STORE_DAMAGED,
    }
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.M)
    assert int(stop_s) > config.Settings().drain_timeout_s


def test_the_container_has_no_root_and_the_same_guard(contrib):
    text = (contrib / "Containerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.M)
    assert "OWNERD_MUST_EXIST=yes" in text and "STOPSIGNAL SIGTERM" in text
    variables = re.findall(r"(OWNERD_[A-Z_]+)=(\S+)", text)
    assert config.load({}, dict(variables)).settings.must_exist


def test_the_settings_file_says_only_what_there_is(contrib, tmp_path):
    text = (contrib / "ownerd.toml").read_text()
    every = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.M))
    assert set(every) <= set(config.KEYS) and every["must_exist"] is True
    assert config.load({}, {}, contrib / "ownerd.toml").settings.must_exist


@pytest.mark.parametrize("where", ["/home/me/.venv", "/root/ownerd", "/tmp/ownerd", "/opt/ownerd"])
def test_a_program_that_the_unit_could_not_see_is_told_of(monkeypatch, tmp_path, capsys, where):
    monkeypatch.setattr(papers, "_program", lambda: f"{where}/bin/ownerd")
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert cli.contrib(tmp_path / "c") == exits.OK
    told = capsys.readouterr().err
    assert (f"note: {where}/bin/ownerd" in told) == (where != "/opt/ownerd")
    monkeypatch.setattr(sys, "executable", "/root/python")
    assert papers.hidden_program()


def test_what_is_there_is_not_overwritten_unasked(tmp_path):
    assert ownerd("contrib", tmp_path / "c").returncode == 0
    unit = tmp_path / "c" / "ownerd.service"
    unit.write_text("mine")
    done = ownerd("contrib", tmp_path / "c")
    assert done.returncode == exits.USAGE and "--replace" in done.stderr
    assert unit.read_text() == "mine"
    assert ownerd("contrib", tmp_path / "c", "--replace").returncode == 0
    assert unit.read_text() != "mine"
