"""The manual's page about clusters, pasted: three members of etcd and two nodes on this machine."""

import os
import random
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import manual
import pytest
from real_etcd import WANTED
from sanitizer import patient_s, plain_environment, programs_path

from ownerd.demo.etcd_process import free_ports

pytest.importorskip("ownerd.cluster.node")

PORTS = ("7411", "7412", "7413", "7421", "7422", "7423")
# As the README has it at the end of Dial.
BEGUN = """
ownerd serve --data ./store 2> ownerd.log &
timeout 60 sh -c 'until grep -q serving ownerd.log; do sleep 0.2; done'
export OWNERD_TOKEN_FILE=./store/admin.token
ownerctl list create customers --enable --days 2 --hours 3
"""


def free_tens() -> str:
    """Return what the ports x1, x2 and x3 begin with, on which nobody listens."""
    for _ in range(1_000):
        begin = random.randrange(2_000, 3_200)
        with suppress(OSError):
            for last in (1, 2, 3):
                with socket.socket() as held:
                    held.bind(("127.0.0.1", 10 * begin + last))
            return str(begin)
    raise RuntimeError("no ports are free")


def test_the_commands_of_the_page_about_clusters_do_what_they_say(tmp_path: Path) -> None:
    if shutil.which("etcd") is None:
        pytest.skip(WANTED)
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = BEGUN + manual.script_of(manual.page("cluster"))
    ports = [str(port) for port in free_ports(len(PORTS))]
    for port, free in (*zip(PORTS, ports, strict=True), ("217", free_tens()), ("218", free_tens())):
        assert f":{port}" in script or port in PORTS[:2]
        script = script.replace(f":{port}", f":{free}")
    environment = {
        **plain_environment(),
        "PATH": programs_path(tmp_path),
        "HOME": str(tmp_path),
        "OWNERD_SERVER": f"127.0.0.1:{ports[1]}",
        "OWNERD_MAP_BYTES": "256MiB",
    }
    for name, port in zip(("DIAL", "ADMIN", "METRICS"), ports, strict=False):
        environment[f"OWNERD_{name}_LISTEN"] = f"127.0.0.1:{port}"
    with subprocess.Popen(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    ) as shell:
        try:
            # The members of etcd run on, with the pipe.
            code = shell.wait(patient_s(120))
        finally:
            with suppress(ProcessLookupError):  # it failed before a member was started
                os.killpg(shell.pid, signal.SIGKILL)
        output = shell.stdout.read() if shell.stdout else ""
    logs = "".join(each.read_text()[-2_000:] for each in tmp_path.glob("[a-z]*.log"))
    assert code == 0, output + logs
    assert "is the node 'b' of the cluster 'shop', from a backup of 127.0.0.1:" in output
    assert "is in no cluster any more" in output
    assert output.count("customers") >= 2
