"""Settings of the server: where values come from, what is refused, and how it says so."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ownerd.server import addresses, config, sizes
from ownerd.server.exits import USAGE, ConfigError

DEADLINE_S = 60


def load(flags=None, environment=None, file=None):
    return config.load(flags or {}, environment or {}, file)


def write(directory: Path, text: str) -> Path:
    file = directory / "ownerd.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_flags_win_over_variables_over_the_file_over_defaults(tmp_path):
    file = write(
        tmp_path,
        'data = "from-file"\nadmin_listen = "127.0.0.1:1"\nlog_level = "error"\n'
        "queue_limit = 20000\n",
    )
    environment = {"OWNERD_ADMIN_LISTEN": "127.0.0.1:2", "OWNERD_LOG_LEVEL": "warning"}
    loaded = load({"log_level": "debug", "data": None}, environment, file)

    assert loaded.settings.data == "from-file"
    assert loaded.settings.admin_listen == "127.0.0.1:2"
    assert loaded.settings.log_level == "debug"
    assert loaded.settings.queue_limit == 20_000
    assert loaded.settings.dial_listen == ("127.0.0.1:7411",)
    assert loaded.sources["data"] == f"file {file}"
    assert loaded.sources["admin_listen"] == "OWNERD_ADMIN_LISTEN"
    assert loaded.sources["log_level"] == "--log-level"
    assert loaded.sources["dial_listen"] == "default"


def test_the_file_may_be_named_by_a_variable(tmp_path):
    file = write(tmp_path, 'data = "x"\n')
    assert load(environment={"OWNERD_CONFIG": str(file)}).settings.data == "x"


def test_several_dial_addresses_come_as_a_list_or_with_commas(tmp_path):
    file = write(tmp_path, 'dial_listen = ["127.0.0.1:1", "unix:/run/x"]\n')
    assert load(file=file).settings.dial_listen == ("127.0.0.1:1", "unix:/run/x")
    variables = {"OWNERD_DIAL_LISTEN": "127.0.0.1:1, [::1]:2"}
    assert load(environment=variables).settings.dial_listen == ("127.0.0.1:1", "[::1]:2")
    flags = {"dial_listen": ["127.0.0.1:1,127.0.0.1:2", "127.0.0.1:3"]}
    assert len(load(flags).settings.dial_listen) == 3


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("dail_listen = 1", "dial_listen"), ("admin-listen = 1", "admin_listen"), ("[dta]", "data")],
)
def test_an_unknown_key_of_the_file_is_refused_and_the_nearest_one_named(tmp_path, text, nearest):
    file = write(tmp_path, text)
    with pytest.raises(ConfigError, match=f"not a setting; did you mean {nearest}") as refused:
        load(file=file)
    assert str(file) in str(refused.value)
    assert refused.value.exit_code == USAGE


def test_an_unknown_variable_is_refused_and_the_nearest_one_named():
    with pytest.raises(ConfigError, match="did you mean OWNERD_MAP_BYTES"):
        load(environment={"OWNERD_MAP_BITES": "1GiB"})


@pytest.mark.parametrize(
    "variable",
    [
        "OWNERD_DEBUG",
        "OWNERD_TESTING",
        "OWNERD_SERVER",
        "OWNERD_DIAL",
        "OWNERD_CONTEXT",
        "OWNERD_TOKEN",
        "OWNERD_TOKEN_FILE",
        "OWNERD_CA",
        "OWNERD_CERT",
        "OWNERD_KEY",
        # Kubernetes sets these for a service that is called ownerd.
        "OWNERD_SERVICE_HOST",
        "OWNERD_SERVICE_PORT_DIAL",
        "OWNERD_PORT_7411_TCP_ADDR",
        "OWNERDX",
    ],
)
def test_variables_that_are_not_settings_of_the_server_are_left_alone(variable):
    assert load(environment={variable: "1"}).settings == config.Settings()


def test_variables_of_the_tool_and_the_client_are_left_alone():
    parts = (Path(config.__file__).parent.parent / name for name in ("ctl", "client"))
    text = "".join(path.read_text() for part in parts for path in part.rglob("*.py"))
    variables = dict.fromkeys(re.findall(r'"(OWNERD_[A-Z_]+)"', text), "1")
    assert len(variables) > 8
    assert load(environment=variables).settings == config.Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dial_listen", ""),
        ("dial_listen", "127.0.0.1"),
        ("admin_listen", "127.0.0.1:65536"),
        ("admin_listen", "::1:7412"),
        ("admin_listen", ""),
        ("metrics_listen", "unix:/run/metrics"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("map_bytes", "64GB"),
        ("map_bytes", "1000001"),
        ("map_bytes", "65TiB"),
        ("map_bytes", "-1"),
        ("reserve_bytes", "65GiB"),
        ("overlay_bytes", "4MiB"),
        ("verify_at_start", "maybe"),
        ("queue_limit", "9999"),
        ("queue_limit", "many"),
        ("settle_interval_s", "0"),
        ("settle_interval_s", "nan"),
        ("drain_timeout_s", "-1"),
        ("drain_timeout_s", "inf"),
        ("max_message_bytes", "2GiB"),
        ("dial_listener", "both"),
        ("dial_threads", "-1"),
        ("dial_max_connections", "0"),
        ("dial_max_streams", "0"),
        ("dial_max_header_bytes", "100"),
        ("dial_max_held_bytes", "1KiB"),
        ("dial_max_memory_bytes", "1KiB"),
        ("dial_max_resets_per_s", "0"),
        ("dial_handshake_timeout_s", "0"),
        ("dial_keepalive_time_s", "0.01"),
        ("dial_keepalive_timeout_s", "nan"),
        ("dial_max_idle_s", "inf"),
        ("dial_max_age_s", "soon"),
        ("dial_max_age_grace_s", "-1"),
    ],
)
def test_a_value_outside_its_limits_is_refused_with_key_source_and_what_is_allowed(name, value):
    variable = "OWNERD_" + name.upper()
    with pytest.raises(ConfigError) as refused:
        load(environment={variable: value})
    message = str(refused.value)
    assert message.startswith(f"{name}: found ")
    assert variable in message
    assert "; allowed: " in message


@pytest.mark.parametrize("text", ["queue_limit = true", 'queue_limit = "20000"', "data = 5"])
def test_a_value_of_the_wrong_type_in_the_file_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="found"):
        load(file=write(tmp_path, text))


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot read the configuration file"):
        load(file=tmp_path / name)


def test_a_file_that_is_not_toml_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not TOML"):
        load(file=write(tmp_path, "data: x"))


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1", 1), ("64GiB", 64 << 30), ("1 kib", 1024), ("2TiB", 2 << 40), ("7B", 7)],
)
def test_sizes_are_read_with_their_units(text, size_bytes):
    assert sizes.parse(text) == size_bytes


@pytest.mark.parametrize("size_bytes", [0, 1, 1023, 1 << 10, 3 << 20, 256 << 30, 64 << 40])
def test_sizes_are_spelt_so_that_they_read_back(size_bytes):
    assert sizes.parse(sizes.spell(size_bytes)) == size_bytes


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:7411", "dialer.example:80", "unix:/a/b"])
def test_addresses_read_back_as_they_are_written(text):
    assert str(addresses.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", ":1", "a", "a:", "a:x", "a:-1", "a:1:2", "[a]:1", "[::1]", "unix:x", "unix:/"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="host:port"):
        addresses.parse(text)


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("dialer.example:1", False),
    ],
)
def test_an_address_that_others_can_reach_is_told_apart(text, is_local):
    assert addresses.parse(text).is_local is is_local


def run_ownerd(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if name[:7] != "OWNERD_"}
    return subprocess.run(
        [sys.executable, "-m", "ownerd.server", *arguments],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_the_config_command_prints_every_setting_with_its_value_and_source():
    done = run_ownerd("config", "-o", "json", "--queue-limit", "20000", OWNERD_MAP_BYTES="1GiB")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    assert set(rows) == set(config.KEYS)
    assert rows["queue_limit"] == {"value": 20_000, "source": "--queue-limit"}
    assert rows["map_bytes"] == {"value": 1 << 30, "source": "OWNERD_MAP_BYTES"}


def test_the_config_command_checks_a_file(tmp_path):
    done = run_ownerd("config", "--config", str(write(tmp_path, "queue_limits = 1")))
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "did you mean queue_limit?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["serve"], ["serve", "--queu-limit", "1"], ["sevre"], ["serve", "--data"]]
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments):
    done = run_ownerd(*arguments)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr.startswith("ownerd: ")
    assert len(done.stderr.splitlines()) == 1
