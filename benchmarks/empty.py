"""The peer: grpc.aio with the dial listener's own options and handlers that do nothing.

It answers every call at once with bytes that ownerd gave for such a call, so what is measured is
the transport that ownerd's dial listener stands on. Run as a process:
`python -m benchmarks.empty ANSWERS.json`, a file of {rpc: answer in hex}.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio

from ownerd.server import grpc_options
from ownerd.server.config import Settings

SERVICE = "ownerd.v1.DialService"


def _handler(answer: bytes) -> Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]:
    async def handle(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return answer

    return handle


async def _serve(answers: dict[str, bytes]) -> None:
    server = grpc.aio.server(options=grpc_options.dial_options(Settings()))
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(_handler(answer))
        for method, answer in answers.items()
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    line = {"event": "listening", "listener": "dial", "address": f"127.0.0.1:{port}"}
    print(json.dumps(line), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    asyncio.run(_serve({method: bytes.fromhex(answer) for method, answer in found.items()}))
