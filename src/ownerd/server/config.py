"""What the server is told: settings from flags, then OWNERD_*, then a TOML file, then defaults.

Owns the list of keys with their defaults and limits (`Settings`), and remembers for each value
where it came from. A key that does not exist is an error naming the nearest one, so a misspelt key
never leaves a default in force silently. Nothing is opened or changed here, except that the
configuration file is read.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import msgspec

from ownerd import limits
from ownerd.server import addresses, sizes
from ownerd.server.exits import ConfigError

PREFIX = "OWNERD_"
CONFIG_VARIABLE = "OWNERD_CONFIG"
PAGE_BYTES = 4096
# What the native core calls them; a test holds the two equal, since this module needs no core.
SHARED_FILESYSTEM_NAMES = (
    "9p",
    "acfs",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse",
    "gfs2",
    "gpfs",
    "ibrix",
    "lustre",
    "ncp",
    "nfs",
    "ocfs2",
    "orangefs",
    "panfs",
    "prl_fs",
    "smb",
    "smb2",
    "snfs",
    "vboxsf",
    "vmhgfs",
)
_YES_OR_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_SECONDS = "a number of seconds from 0.1 to 86,400"

# Variables with our prefix that are not settings of the server: the path of the file, build and
# test switches, where ownerctl and the client find a server and say who they are, what is mirrored
# into, and what Kubernetes sets in every container when a service is called ownerd.
_FOREIGN = re.compile(
    r"OWNERD_(CONFIG|DEBUG|FAILPOINT|LOSE_EVENTS|SANITIZE|TESTING|WALL_OFFSET_S"
    r"|CONTEXT|SERVER|DIAL|TOKEN|TOKEN_FILE|CA|CERT|KEY|MIRROR_TO"
    r"|([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[A-Z0-9_]+)?))"
)


def _about(help_text: str, allowed: str, **limits: Any) -> msgspec.Meta:
    return msgspec.Meta(description=help_text, extra={"allowed": allowed}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator can set; field order is the order of `ownerd config`."""

    data: Annotated[str, _about("Directory of the store. Required by serve.", "a path")] = ""
    must_exist: Annotated[
        bool,
        _about(
            "Whether serve refuses a directory without a store instead of making one; `ownerd "
            "init` makes it then.",
            "yes or no",
        ),
    ] = False
    store_id: Annotated[
        str,
        _about(
            "Id that the store must have, as `ownerd init` and the log's line `serving` say it; "
            "another store is not served. Empty for any.",
            "16 hexadecimal digits, or empty for any",
            pattern=r"^([0-9a-f]{16})?$",
        ),
    ] = ""
    migrate: Annotated[
        bool,
        _about(
            "Whether serve makes a store of an earlier version one of this version's first, as "
            "`ownerd migrate` does, instead of refusing it.",
            "yes or no",
        ),
    ] = False
    allow_filesystems: Annotated[
        tuple[str, ...],
        _about(
            "Filesystems that other machines or mounts may share, on which the store may be all "
            "the same; several with commas. Two servers on one store grant records twice.",
            f"names out of {', '.join(SHARED_FILESYSTEM_NAMES)}",
        ),
    ] = ()
    dial_listen: Annotated[
        tuple[str, ...],
        _about(
            "Addresses of the dial listener (DialService, health); several with commas.",
            f"one address or more: {addresses.ALLOWED}",
            min_length=1,
        ),
    ] = ("127.0.0.1:7411",)
    dial_listener: Annotated[
        Literal["auto", "native", "grpcio"],
        _about(
            "What serves the dial addresses; auto is native where it was built, else grpcio.",
            "auto, native or grpcio",
        ),
    ] = "auto"
    dial_threads: Annotated[
        int,
        _about(
            "Threads of the native dial listener; 0: half as many as processors, 1 to 4.",
            "a whole number from 0 to 64",
            ge=0,
            le=64,
        ),
    ] = 0
    dial_max_connections: Annotated[
        int,
        _about(
            "Most connections of dialers; further ones wait to be accepted (native only).",
            "a whole number from 1 to 1,000,000",
            ge=1,
            le=1_000_000,
        ),
    ] = 10_000
    dial_max_streams: Annotated[
        int,
        _about(
            "Most calls in flight on one dial connection.",
            "a whole number from 1 to 1,000,000",
            ge=1,
            le=1_000_000,
        ),
    ] = 1_024
    dial_max_header_bytes: Annotated[
        int,
        _about(
            "Most bytes of a call's headers; more are RESOURCE_EXHAUSTED.",
            f"{sizes.ALLOWED}; from 1KiB to 1MiB",
            ge=1 << 10,
            le=1 << 20,
        ),
    ] = 16 << 10
    dial_max_held_bytes: Annotated[
        int,
        _about(
            "Most bytes of requests and answers that one dial connection may have under way; "
            "calls beyond are RESOURCE_EXHAUSTED. At least twice max_message_bytes (native only).",
            f"{sizes.ALLOWED}; from 64KiB to 64GiB",
            ge=64 << 10,
            le=64 << 30,
        ),
    ] = 32 << 20
    dial_max_principal_bytes: Annotated[
        int,
        _about(
            "As dial_max_held_bytes, for all dial connections of one principal together; at most "
            "half of dial_max_memory_bytes (native only).",
            f"{sizes.ALLOWED}; from 1MiB to 1TiB",
            ge=1 << 20,
            le=1 << 40,
        ),
    ] = 256 << 20
    dial_max_memory_bytes: Annotated[
        int,
        _about(
            "As dial_max_held_bytes, for all dial connections together (native only).",
            f"{sizes.ALLOWED}; from 1MiB to 1TiB",
            ge=1 << 20,
            le=1 << 40,
        ),
    ] = 1 << 30
    dial_max_resets_per_s: Annotated[
        int,
        _about(
            "Calls a second that one dial connection may give up before they are decided, ten "
            "times as many at once; one beyond is closed (native only).",
            "a whole number from 1 to 1,000,000",
            ge=1,
            le=1_000_000,
        ),
    ] = 1_000
    dial_handshake_timeout_s: Annotated[
        float,
        _about("Seconds a new dial connection has to speak HTTP/2.", _SECONDS, ge=0.1, le=86_400),
    ] = 10.0
    dial_transfer_timeout_s: Annotated[
        float,
        _about(
            "Seconds that a request has to come in, or an answer to be taken, and 1 more for each "
            "16KiB that are; a call beyond is ended (native only).",
            _SECONDS,
            ge=0.1,
            le=86_400,
        ),
    ] = 20.0
    dial_keepalive_time_s: Annotated[
        float, _about("Seconds of silence before a dialer is pinged.", _SECONDS, ge=0.1, le=86_400)
    ] = 60.0
    dial_keepalive_timeout_s: Annotated[
        float,
        _about(
            "Seconds a pinged dialer has to answer before it is dropped.",
            _SECONDS,
            ge=0.1,
            le=86_400,
        ),
    ] = 10.0
    dial_max_idle_s: Annotated[
        float,
        _about(
            "Seconds without calls before a dial connection is closed.", _SECONDS, ge=0.1, le=86_400
        ),
    ] = 1_800.0
    dial_max_age_s: Annotated[
        float,
        _about(
            "Seconds before a dial connection is renewed, give or take a tenth.",
            _SECONDS,
            ge=0.1,
            le=86_400,
        ),
    ] = 1_800.0
    dial_max_age_grace_s: Annotated[
        float,
        _about(
            "Seconds that calls in flight are given on a dial connection that is being closed.",
            _SECONDS,
            ge=0.1,
            le=86_400,
        ),
    ] = 60.0
    admin_listen: Annotated[
        str,
        _about(
            "Address of the admin listener (AdminService, DialService, health, reflection).",
            addresses.ALLOWED,
        ),
    ] = "127.0.0.1:7412"
    admin_listener: Annotated[
        Literal["auto", "native", "grpcio"],
        _about(
            "What serves the admin address; auto is native where it was built, else grpcio.",
            "auto, native or grpcio",
        ),
    ] = "auto"
    admin_max_connections: Annotated[
        int,
        _about(
            "As dial_max_connections, for the admin listener (native only).",
            "a whole number from 1 to 1,000,000",
            ge=1,
            le=1_000_000,
        ),
    ] = 1_000
    first_call_timeout_s: Annotated[
        float,
        _about(
            "Seconds that a connection has until somebody known has made a call on it; one without "
            "is a stranger's (native only).",
            _SECONDS,
            ge=0.1,
            le=86_400,
        ),
    ] = 60.0
    max_strangers: Annotated[
        int,
        _about(
            "Most connections from one address (of IPv6: from one /64) on which nobody known has "
            "made a call yet, for each listener; one more takes the place of the oldest of them "
            "(native only).",
            "a whole number from 1 to 1,000,000",
            ge=1,
            le=1_000_000,
        ),
    ] = 1_000
    max_stranger_calls: Annotated[
        int,
        _about(
            "As max_strangers, for the health checks and reflection calls that are open on such "
            "connections (native only).",
            "a whole number from 1 to 1,000,000",
            ge=1,
            le=1_000_000,
        ),
    ] = 256
    metrics_listen: Annotated[
        str,
        _about(
            "Address of the metrics page (HTTP, /metrics); empty for none.",
            "host:port or [IPv6]:port, or empty for no metrics page",
        ),
    ] = "127.0.0.1:7413"
    tls_certificate: Annotated[
        str,
        _about(
            "PEM file with the server's certificate and those that lead to its CA; with it every "
            "listener speaks TLS (1.2 or later), except on Unix sockets. Read again when it "
            "changes.",
            "a path, or empty for no TLS",
        ),
    ] = ""
    tls_key: Annotated[
        str,
        _about("PEM file with the private key of tls_certificate.", "a path, or empty for no TLS"),
    ] = ""
    dial_client_ca: Annotated[
        str,
        _about(
            "PEM file with the CAs of dialers' certificates; with it the dial listener takes only "
            "connections with one. Needs tls_certificate.",
            "a path, or empty for none",
        ),
    ] = ""
    admin_client_ca: Annotated[
        str, _about("As dial_client_ca, for the admin listener.", "a path, or empty for none")
    ] = ""
    metrics_client_ca: Annotated[
        str, _about("As dial_client_ca, for the metrics page.", "a path, or empty for none")
    ] = ""
    no_auth: Annotated[
        bool,
        _about(
            "Ask nobody who they are, and let everybody do everything; on loopback addresses "
            "only, or together with insecure.",
            "yes or no",
        ),
    ] = False
    insecure: Annotated[
        bool,
        _about(
            "Allow addresses that other machines can reach without TLS, and with no_auth.",
            "yes or no",
        ),
    ] = False
    core_dumps: Annotated[
        bool,
        _about("Whether a crash may leave a core file; tokens and keys are in it.", "yes or no"),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _about("Least severe log events to write.", "debug, info, warning or error"),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "console", "json"],
        _about(
            "Form of the log on stderr; auto is console on a terminal, else json.",
            "auto, console or json",
        ),
    ] = "auto"
    slow_call_ms: Annotated[
        int,
        _about(
            "Milliseconds from which a call is logged as a slow one; 0: none is.", "from 0", ge=0
        ),
    ] = 500
    map_bytes: Annotated[
        int,
        _about(
            "Most bytes that the store may grow to; reserved as addresses, not as disk or memory.",
            f"{sizes.ALLOWED}; from 1MiB to 64TiB, a multiple of {PAGE_BYTES}",
            ge=1 << 20,
            le=64 << 40,
            multiple_of=PAGE_BYTES,
        ),
    ] = 256 << 30
    reserve_bytes: Annotated[
        int,
        _about(
            "Capacity kept for releases: grants are refused when less is free in the map or on the "
            "disk. At most a quarter of map_bytes is kept.",
            f"{sizes.ALLOWED}; from 64KiB to 64GiB",
            ge=64 << 10,
            le=64 << 30,
        ),
    ] = 64 << 20
    overlay_bytes: Annotated[
        int,
        _about(
            "Memory for records that are not flushed yet (the memtables); more makes flushing "
            "cheaper, and a start after a crash longer.",
            f"{sizes.ALLOWED}; from 8MiB to 16GiB",
            ge=8 << 20,
            le=16 << 30,
        ),
    ] = 112 << 20
    log_keep_bytes: Annotated[
        int,
        _about(
            "Log that is kept for those who follow changes (Watch); older goes, once it is flushed "
            "to the records. Less is kept where the disk is full.",
            f"{sizes.ALLOWED}; from 1MiB to 1TiB",
            ge=1 << 20,
            le=1 << 40,
        ),
    ] = 1 << 30
    log_keep_s: Annotated[
        float,
        _about(
            "Seconds that it is kept; whichever of the two is reached first.",
            "a number of seconds from 1 to 31,536,000",
            ge=1,
            le=31_536_000,
        ),
    ] = 3_600.0
    verify_at_start: Annotated[
        bool,
        _about(
            "Whether serve reads and checks the whole store before it answers from it.", "yes or no"
        ),
    ] = True
    queue_limit: Annotated[
        int,
        _about(
            "Most records that may wait for the writer; calls beyond are RESOURCE_EXHAUSTED.",
            f"a whole number from {limits.BATCH_RECORDS:,} (the largest batch) to 10,000,000",
            ge=limits.BATCH_RECORDS,
            le=10_000_000,
        ),
    ] = 65_536
    import_spool_bytes: Annotated[
        int,
        _about(
            "Most disk for the rows of imports that are being sent, all together; imports beyond "
            "are RESOURCE_EXHAUSTED.",
            f"{sizes.ALLOWED}; from 1MiB to 1TiB",
            ge=1 << 20,
            le=1 << 40,
        ),
    ] = 4 << 30
    backup_limit_s: Annotated[
        float,
        _about(
            "Seconds that a backup may take; while one lasts, the store's file grows by what is "
            "written.",
            "a number of seconds from 1 to 86,400",
            ge=1,
            le=86_400,
        ),
    ] = 3_600.0
    settle_interval_s: Annotated[
        float,
        _about(
            "Seconds between two vacuums of everything, which drop expired records.",
            "a number of seconds from 1 to 86,400",
            ge=1,
            le=86_400,
        ),
    ] = 900.0
    audit_keep_days: Annotated[
        float,
        _about(
            "Days that entries of the audit are kept; older ones are exported to audit_export and "
            "deleted. 0: for ever.",
            "0, or a number of days from 1 to 36,525",
            ge=0,
            le=36_525,
        ),
    ] = 0.0
    audit_export: Annotated[
        str,
        _about(
            "Directory to which the audit's entries go before they are deleted, as JSON lines; "
            "empty: audit in the data directory.",
            "a path, or empty",
        ),
    ] = ""
    drain_timeout_s: Annotated[
        float,
        _about(
            "Seconds that calls in flight are given to end when the server is asked to stop.",
            "a number of seconds from 0 to 3,600",
            ge=0,
            le=3_600,
        ),
    ] = 30.0
    max_message_bytes: Annotated[
        int,
        _about(
            "Largest request message that is taken; larger ones are RESOURCE_EXHAUSTED.",
            f"{sizes.ALLOWED}; from 64KiB to 1GiB",
            ge=64 << 10,
            le=1 << 30,
        ),
    ] = 4 << 20
    cluster: Annotated[
        str,
        _about(
            "Cluster that this server is a node of: the members of etcd and a name. Empty: it is "
            "alone.",
            "etcd://HOST:PORT,HOST:PORT,HOST:PORT/NAME, or empty",
        ),
    ] = ""
    node: Annotated[
        str,
        _about(
            "This server's name in its cluster, which no other node has.",
            "1 to 64 letters, digits, dots, dashes and underscores, or empty",
            pattern=r"^([A-Za-z0-9._-]{1,64})?$",
        ),
    ] = ""
    advertise_dial: Annotated[
        str,
        _about(
            "Where other machines reach the dial listener; empty: its first address.",
            "HOST:PORT, or empty",
        ),
    ] = ""
    advertise_admin: Annotated[
        str,
        _about(
            "Where other machines reach the admin listener; empty: its address.",
            "HOST:PORT, or empty",
        ),
    ] = ""
    cluster_create: Annotated[
        bool,
        _about(
            "Whether the cluster's log is made, once, from this store. All other nodes begin from "
            "a backup of a node; an empty store may join an empty log.",
            "yes or no",
        ),
    ] = False
    cluster_lease_s: Annotated[
        int,
        _about(
            "Seconds without which a leader is taken for dead; it takes up to twice as long until "
            "another one answers.",
            "a whole number from 2 to 60",
            ge=2,
            le=60,
        ),
    ] = 5
    cluster_peer_token_file: Annotated[
        str,
        _about(
            "File with a token that has the right admin, by which this node asks another one for a "
            "backup, to begin from.",
            "a path, or empty for none",
        ),
    ] = ""
    cluster_peer_ca: Annotated[
        str,
        _about(
            "PEM file with the CAs of the other nodes' certificates; they are called by TLS then.",
            "a path, or empty for none",
        ),
    ] = ""
    cluster_peer_certificate: Annotated[
        str,
        _about(
            "PEM file with the certificate to show the other nodes, and those that lead to its CA.",
            "a path, or empty for none",
        ),
    ] = ""
    cluster_peer_key: Annotated[
        str,
        _about(
            "PEM file with the private key of cluster_peer_certificate.",
            "a path, or empty for none",
        ),
    ] = ""
    cluster_log_bytes: Annotated[
        int,
        _about(
            "Size of the log in etcd above which a node that does not run is no reason to keep "
            "more of it; it needs a backup of another node then. 0: a quarter of etcd's quota.",
            f"0, or {sizes.ALLOWED}; from 1MiB to 1TiB",
            ge=0,
            le=1 << 40,
        ),
    ] = 0
    cluster_reads: Annotated[
        Literal["lease", "append"],
        _about(
            "How an answer that changed nothing is proved to come from the leader: by a "
            "transaction of a moment ago, or each by one of its own, which also holds on a virtual "
            "machine that is paused.",
            "lease or append",
        ),
    ] = "lease"
    etcd_ca: Annotated[
        str,
        _about(
            "PEM file with the CAs of etcd's certificates; etcd is called by TLS then.",
            "a path, or empty for none",
        ),
    ] = ""
    etcd_certificate: Annotated[
        str,
        _about(
            "PEM file with the certificate to show etcd, and those that lead to its CA.",
            "a path, or empty for none",
        ),
    ] = ""
    etcd_key: Annotated[
        str,
        _about("PEM file with the private key of etcd_certificate.", "a path, or empty for none"),
    ] = ""
    etcd_user: Annotated[
        str, _about("Whom etcd knows this server as, where it asks.", "a name, or empty")
    ] = ""
    etcd_password_file: Annotated[
        str, _about("File with the password of etcd_user.", "a path, or empty for none")
    ] = ""


class Key(NamedTuple):
    """One setting as the programs name it."""

    name: str
    type: Any
    help_text: str
    allowed: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


class Loaded(NamedTuple):
    """Settings in force, and for each key where its value came from."""

    settings: Settings
    sources: Mapping[str, str]


def _keys() -> dict[str, Key]:
    keys = {}
    for name, annotated in get_type_hints(Settings, include_extras=True).items():
        meta = annotated.__metadata__[0]
        keys[name] = Key(name, annotated, meta.description, meta.extra["allowed"])
    return keys


KEYS: Mapping[str, Key] = _keys()


def defaults() -> dict[str, Any]:
    """Return the value of each setting that nobody sets."""
    return msgspec.structs.asdict(Settings())


def spell(name: str, value: Any) -> str:
    """Return a setting's value as an operator would write it."""
    if name.endswith("_bytes"):
        return sizes.spell(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None
) -> Loaded:
    """Return the settings in force.

    Args:
        flags: values by key as typed on the command line; None means not given.
        environment: the process's variables; those of the form OWNERD_<KEY> count.
        file: the TOML file; None takes the path in OWNERD_CONFIG, or no file.

    Raises:
        ConfigError: an unknown key, a value outside its limits, or a file that cannot be read.
    """
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    values: dict[str, Any] = {}
    sources = dict.fromkeys(KEYS, "default")
    for found in (_from_file(file), _from_environment(environment), _from_flags(flags)):
        for name, (value, source) in found.items():
            values[name] = _read(KEYS[name], value, source)
            sources[name] = source
    return Loaded(Settings(**values), sources)


def _from_file(file: Path | None) -> dict[str, tuple[Any, str]]:
    if file is None:
        return {}
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {file} is not TOML: {error}") from None
    for name in table:
        if name not in KEYS:
            raise ConfigError(
                f"{name!r} in {file} is not a setting; did you mean {_nearest(name, list(KEYS))}?"
            )
    return {name: (value, f"file {file}") for name, value in table.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    names = {key.variable: name for name, key in KEYS.items()}
    found = {}
    for variable, value in environment.items():
        if variable in names:
            found[names[variable]] = (value, variable)
        elif variable.startswith(PREFIX) and not _FOREIGN.fullmatch(variable):
            nearest = _nearest(variable, list(names))
            raise ConfigError(
                f"the variable {variable} is not a setting; did you mean {nearest}? "
                f"Unset it if it is not meant for ownerd"
            )
    return found


def _from_flags(flags: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    given = {name: value for name, value in flags.items() if value is not None}
    return {name: (value, KEYS[name].flag) for name, value in given.items()}


def _nearest(name: str, names: list[str]) -> str:
    return difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]


def _read(key: Key, value: Any, source: str) -> Any:
    """Return `value` as its setting's type, within its limits."""
    try:
        if (reader := _READERS.get(key.name)) is not None:
            value = reader(value)
        # A file has types of its own; flags and variables are text.
        return msgspec.convert(value, key.type, strict=source.startswith("file "))
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise ConfigError(f"{key.name}: found {value!r} ({source}); allowed: {key.allowed}")


def _read_addresses(value: Any) -> list[str]:
    texts = value if isinstance(value, list | tuple) else [value]
    parts = [part.strip() for text in texts for part in text.split(",")]
    return [str(addresses.parse(part)) for part in parts]


def _read_filesystems(value: Any) -> list[str]:
    texts = value if isinstance(value, list | tuple) else [value]
    names = [name for text in texts for part in text.split(",") if (name := part.strip().lower())]
    if not set(names) <= set(SHARED_FILESYSTEM_NAMES):
        raise ValueError("not the name of a shared filesystem")
    return names


def _read_address(value: Any) -> str:
    return str(addresses.parse(value))


def _read_http_address(value: Any) -> str:
    if value == "":
        return ""
    address = addresses.parse(value)
    if address.path:
        raise ValueError("the metrics page has no Unix socket")
    return str(address)


def _read_yes_or_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return _YES_OR_NO[value.lower()]


def _read_size(value: Any) -> Any:
    return sizes.parse(value) if isinstance(value, str) else value


def _read_seconds(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(seconds := float(value)):
        raise ValueError("not a number of seconds")
    return seconds


def _read_days(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(days := float(value)) or 0 < days < 1:
        raise ValueError("not 0, nor a day or more")  # repeats are told for a day by the audit
    return days


_READERS: Mapping[str, Callable[[Any], Any]] = (
    {
        "allow_filesystems": _read_filesystems,
        "store_id": str.lower,
        "dial_listen": _read_addresses,
        "admin_listen": _read_address,
        "metrics_listen": _read_http_address,
        "audit_keep_days": _read_days,
        "map_bytes": _read_size,
        "reserve_bytes": _read_size,
        "overlay_bytes": _read_size,
        "log_keep_bytes": _read_size,
        "import_spool_bytes": _read_size,
        "max_message_bytes": _read_size,
        "dial_max_header_bytes": _read_size,
        "dial_max_held_bytes": _read_size,
        "dial_max_principal_bytes": _read_size,
        "dial_max_memory_bytes": _read_size,
    }
    | {name: _read_yes_or_no for name, value in defaults().items() if isinstance(value, bool)}
    | {name: _read_seconds for name in KEYS if name.endswith("_s") and not name.endswith("_per_s")}
)
