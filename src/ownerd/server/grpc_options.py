"""gRPC options of the two listeners, and why each is what it is.

Times are milliseconds, as gRPC names them. The aim: a peer that is dead, slow or hostile costs
bounded memory and is dropped in bounded time, and a working one is never dropped in a call.
"""

from ownerd.server.config import Settings

_SECOND_MS = 1_000
_MINUTE_MS = 60 * _SECOND_MS

# A call's message is received before it is known who calls, so the number of calls is what bounds
# memory; those beyond are RESOURCE_EXHAUSTED at once. It is large, since whoever takes all places
# keeps others out: the native listener has no such choice to make.
ADMIN_STREAMS = 256
ADMIN_CALLS = 1_024
DIAL_CALLS_PER_STREAM = 4

_COMMON: dict[str, int] = {
    # Two servers on one port would share it silently.
    "grpc.so_reuseport": 0,
    # Needed with gRPC's own counting against rapid resets. A stream counts until it is closed on
    # both sides, so a dialer with 256 calls in flight is refused some at a limit of 256.
    "grpc.max_concurrent_streams": 1_024,
    # Answers are bounded by batch and page sizes; refusing one after its commit would help nobody.
    "grpc.max_send_message_length": -1,
    "grpc.max_metadata_size": 8 << 10,
    "grpc.absolute_max_metadata_size": 16 << 10,
    "grpc.http2.max_frame_size": 16 << 10,
    # A dead peer is noticed in 70 s; gRPC's default is two hours.
    "grpc.keepalive_time_ms": _MINUTE_MS,
    "grpc.keepalive_timeout_ms": 10 * _SECOND_MS,
    # Clients may ping every 10 s, also between calls; those that flood are closed.
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.min_ping_interval_without_data_ms": 10 * _SECOND_MS,
    "grpc.http2.max_ping_strikes": 2,
    "grpc.server_handshake_timeout_ms": 10 * _SECOND_MS,
    "grpc.max_connection_idle_ms": 30 * _MINUTE_MS,
    "grpc.enable_channelz": 0,
}


def dial_options(settings: Settings) -> list[tuple[str, int]]:
    """Return the options of the dial listener, where grpcio serves it."""
    # Dial calls end in milliseconds, so long-lived connections can be renewed without cutting one.
    dial = {
        "grpc.max_concurrent_streams": settings.dial_max_streams,
        "grpc.max_metadata_size": settings.dial_max_header_bytes // 2,
        "grpc.absolute_max_metadata_size": settings.dial_max_header_bytes,
        "grpc.server_handshake_timeout_ms": _ms(settings.dial_handshake_timeout_s),
        "grpc.keepalive_time_ms": _ms(settings.dial_keepalive_time_s),
        "grpc.keepalive_timeout_ms": _ms(settings.dial_keepalive_timeout_s),
        "grpc.max_connection_idle_ms": _ms(settings.dial_max_idle_s),
        "grpc.max_connection_age_ms": _ms(settings.dial_max_age_s),
        "grpc.max_connection_age_grace_ms": _ms(settings.dial_max_age_grace_s),
    }
    return list((_COMMON | dial | _size(settings)).items())


def admin_options(settings: Settings) -> list[tuple[str, int]]:
    """Return the options of the admin listener.

    Its connections are renewed too, so that a certificate that has ended does not live on in one;
    calls on them are given all the time that they need, as imports and exports may last.
    """
    admin = {
        "grpc.max_concurrent_streams": ADMIN_STREAMS,
        "grpc.max_connection_age_ms": 30 * _MINUTE_MS,
    }
    return list((_COMMON | admin | _size(settings)).items())


def _ms(seconds: float) -> int:
    return round(seconds * _SECOND_MS)


def _size(settings: Settings) -> dict[str, int]:
    return {"grpc.max_receive_message_length": settings.max_message_bytes}
