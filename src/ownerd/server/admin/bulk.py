"""What the changes of whole lists share: where they are made, what a dry run looks at, their count.

Releases, transfers, stops and deleted campaigns end or give away any number of holds at one
instant, in one list or in all.
"""

from collections.abc import Callable, Iterable, Iterator

from ownerd.native import Engine, Outcome, Refused, Snapshot
from ownerd.server.admin import validate
from ownerd.server.errors import ListNotFound
from ownerd.v1 import admin_pb2


def list_meant(
    request: admin_pb2.ReleaseOwnershipRequest | admin_pb2.TransferOwnershipRequest,
) -> str:
    """Return the list, "" for all; exactly one of the two must be asked for."""
    validate.exactly_one("list_id and all_lists", bool(request.list_id), request.all_lists)
    return "" if request.all_lists else validate.list_id(request.list_id)


def counted(engine: Engine, outcome: Outcome) -> int:
    """Return how many holds a change was about.

    It is in force and durable; counting may take a while, and may have been cut off by a restart
    since the first call with its request id.
    """
    return engine.count_released(outcome.entry_id) if outcome.count is None else outcome.count


def snapshots(
    engine: Engine, list_id: str, lists_held: Callable[[], Iterable[str]]
) -> Iterator[Snapshot]:
    """Yield the list, or ("") each of those held in, as of its own revision.

    Of all lists, one that is deleted meanwhile is left out; any other refusal is raised.
    """
    for name in [list_id] if list_id else lists_held():
        try:
            with engine.snapshot(name) as snapshot:
                yield snapshot
        except Refused as refused:
            if list_id or refused.reason != ListNotFound.reason:
                raise
