"""The asynchronous client, driven as if it were the synchronous one."""

import asyncio
from collections.abc import Callable
from inspect import isasyncgen, iscoroutine
from typing import Any

from ownerd.client import AsyncClient


class Driven:
    """An `AsyncClient` that is called like a `Client`: each call runs on a loop of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*arguments, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            result = method(*arguments, **options)
            if isasyncgen(result):
                return self._runner.run(_collect(result))
            return self._runner.run(result) if iscoroutine(result) else result

        return call

    def __enter__(self) -> "Driven":
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


async def _collect(items: Any) -> list[Any]:
    return [item async for item in items]
