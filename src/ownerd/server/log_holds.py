"""Who needs what of a cluster's log: nodes that belong to it, and those that join just now."""

from typing import Any


def held(node: Any) -> dict[str, int]:
    """Return up to where the log may be trimmed for each node's sake, of those that join too.

    Raises:
        EtcdUnavailableError: etcd does not answer.
    """
    registered, pinned = node.registered(), node.pinned()
    return {
        name: min(each[name] for each in (registered, pinned) if name in each)
        for name in {**registered, **pinned}
    }
