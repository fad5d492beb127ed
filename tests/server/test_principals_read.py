"""Principals that another node of the cluster changed are seen, whatever this one had before."""

from pathlib import Path
from typing import Any

from ownerd.native import Access, Engine
from ownerd.server.principals import Principal, Principals


def put(call: Any, *arguments: Any) -> Any:
    return call(*arguments, note=b"test")


def test_what_another_node_changed_back_is_seen_too(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "data"), map_bytes=64 << 20)
    try:
        here, there = Principals(engine, Access()), Principals(engine, Access())
        first, second = Principal("red", version=1), Principal("red", version=2)
        there.write(first, put)
        here.read()
        assert here.get("red") == first
        here.write(second, put)
        there.read()
        there.write(first, put)
        here.read()
        assert here.get("red") == first
        here.delete("red", put)
        there.write(first, put)
        here.read()
        assert here.get("red") == first
    finally:
        engine.close()
