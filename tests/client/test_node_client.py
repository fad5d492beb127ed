"""A client in another language: Node loads the protos at run time and does the main job.

`tests/client/node` holds the client; it prints what the server answered, this module judges it.
"""

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer
from harness import ServerProcess
from manual import page
from sanitizer import plain_environment
from tls_files import Authority, Files

from ownerd.v1 import dial_pb2

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parents[1] / "protos"
NODE_FILES = ("package.json", "package-lock.json", ".npmrc", "smoke.js", "fail_over.js")
INSTALL_DEADLINE_S = 120
SMOKE_DEADLINE_S = 60
# npm's codes for a lock file that does not fit package.json or the packages it names: a fault of
# ours, unlike a registry out of reach.
LOCK_FAULTS = {"EUSAGE", "EINTEGRITY"}


def npm_error_code(report: str) -> str:
    """Return the code in what `npm --json` printed, `unknown` where there is none."""
    try:
        return str(json.loads(report)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "unknown"


@pytest.fixture(scope="module")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of tests/client/node with its packages installed; skips where that cannot be done."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not both installed")
    directory = tmp_path_factory.mktemp("node")
    for name in NODE_FILES:
        shutil.copy(HERE / "node" / name, directory)
    command = [npm, "ci", "--json", "--prefer-offline"]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=plain_environment(),
            capture_output=True,
            text=True,
            timeout=INSTALL_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci did not end in {INSTALL_DEADLINE_S} s")
    if done.returncode != 0:
        code = npm_error_code(done.stdout)
        assert code not in LOCK_FAULTS, (
            "package-lock.json is wrong; run npm install in tests/client/node"
        )
        pytest.skip(f"npm cannot install the packages of tests/node: {code}")
    return directory


@pytest.fixture(scope="module", params=["plaintext", "tls"])
def answers(
    request: pytest.FixtureRequest, node_client: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the server answered the Node client, by step."""
    if request.param == "plaintext":
        return _talk(node_client, request.getfixturevalue("shared_server"))
    directory, ca = tmp_path_factory.mktemp("node-tls"), Authority()
    (directory / "ca.pem").write_bytes(ca.pem)
    arguments = Files(directory, ca.issue()).arguments
    with ServerProcess(directory / "data", "--no-auth", *arguments) as server:
        return _talk(node_client, server, str(directory / "ca.pem"))


def _talk(node_client: Path, server: ServerProcess, *more: str) -> dict[str, Any]:
    """Run the Node client against a server; return what it printed."""
    addresses = [server.dial_address, server.admin_address]
    done = subprocess.run(
        ["node", "smoke.js", str(PROTOS), *addresses, "node-list", *more],
        cwd=node_client,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=SMOKE_DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    return json.loads(line)


def test_node_creates_a_list_on_the_admin_port(answers: dict[str, Any]) -> None:
    created = answers["created"]["list"]
    assert created["list_id"] == "node-list"
    assert created["policy"]["enabled"] is True
    assert created["policy"]["duration"]["seconds"] == "7200"
    assert created["policy"]["reservation_ttl"]["seconds"] == "900"


def test_r5_r9_node_claims_and_acquires_by_a_valid_attempt(answers: dict[str, Any]) -> None:
    assert answers["claim"]["decision"] == "CLAIM_DECISION_GRANTED"
    assert answers["attempt"]["outcome"] == "ATTEMPT_OUTCOME_OWNERSHIP_ACQUIRED"
    assert int(answers["attempt"]["revision"]) > int(answers["claim"]["revision"]) > 0


def test_r4_node_is_denied_for_a_second_campaign_with_the_holder(answers: dict[str, Any]) -> None:
    denied = answers["denied"]
    assert denied["decision"] == "CLAIM_DECISION_DENIED"
    assert denied["holder"]["kind"] == "HOLD_KIND_OWNED"
    assert denied["holder"]["campaign_id"] == denied["holder"]["campaign_name"] == "node-a"
    held_s = _seconds(denied["holder"]["expire_time"]) - _seconds(denied["holder"]["acquire_time"])
    assert held_s == pytest.approx(7200, abs=1e-6)


def test_r17_node_reads_the_same_holder_that_denied_it(answers: dict[str, Any]) -> None:
    assert answers["holder"]["holder"] == answers["denied"]["holder"]


def test_node_claims_a_batch_of_1000_and_only_the_owned_record_is_denied(
    answers: dict[str, Any],
) -> None:
    batch = answers["batch"]
    assert batch["decisions"] == {"CLAIM_DECISION_DENIED": 1, "CLAIM_DECISION_GRANTED": 999}
    [denial] = batch["denials"]
    assert denial == {"index": 0, "holder": answers["denied"]["holder"]}


def test_node_gets_not_found_for_an_unknown_list(answers: dict[str, Any]) -> None:
    assert answers["unknownList"]["status"] == "NOT_FOUND"
    assert "node-list-none" in answers["unknownList"]["message"]


def test_the_recipe_for_several_addresses_goes_on_from_a_leader_that_stops_or_freezes(
    node_client: Path,
) -> None:
    [recipe] = re.findall(r"^```js\n(.*?)^```", page("dial"), re.M | re.S)
    (node_client / "recipe.js").write_text(recipe)
    granted = dial_pb2.ClaimResponse(decision=1, revision=1)
    with socket.socket() as refusing, FakeServer() as first, FakeServer() as second:
        refusing.bind(("127.0.0.1", 0))
        port = refusing.getsockname()[1]
        first.answer("Claim", granted)
        second.answer("Claim", granted)
        addresses = f"127.0.0.1:{port},{first.address},{second.address}"
        command = ["node", "fail_over.js", str(PROTOS), addresses, "list", "30", "300"]
        with subprocess.Popen(
            command, cwd=node_client, env=plain_environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            told = []
            for line in process.stdout:
                told.append(line.strip())
                if len(told) == 10:
                    first.stand_by()
                elif len(told) == 20:
                    second.hold("Claim")
                    first.lead()
            assert process.wait(SMOKE_DEADLINE_S) == 0
    assert told == ["CLAIM_DECISION_GRANTED"] * 30
    records = [each.record_id for each in first.requests["Claim"]]
    assert {"0", "29"} < set(records) and "12" in {
        each.record_id for each in second.requests["Claim"]
    }


def test_the_lock_file_names_no_registry() -> None:
    """So that `npm ci` uses the registry that the user has configured."""
    packages = json.loads((HERE / "node" / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []


def _seconds(timestamp: dict[str, Any]) -> float:
    return int(timestamp["seconds"]) + timestamp["nanos"] / 1e9
