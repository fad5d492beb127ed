"""Tells the log of persons whom two campaigns called (R31), a line a minute for each pair at most.

The engine counts; this looks at the counts and says by how much they grew.
"""

import asyncio

import structlog

from ownerd.native import Engine

_LOOK_EVERY_S = 60.0
# More pairs than this in one look are summed up.
_LINES = 20

log = structlog.get_logger("ownerd.server")

Pair = tuple[str, str, str]


class CalledTwiceLog:
    """Writes what was counted since the last look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told: dict[Pair, int] = {}

    async def watch(self) -> None:
        """Look every minute; ends when it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Tell how much each count has grown, the largest growth first."""
        counts = {(row[0], row[1], row[2]): row[3] for row in self._engine.called_twice()}
        grown = [(count - self._told.get(pair, 0), pair) for pair, count in counts.items()]
        grown = sorted((more for more in grown if more[0] > 0), reverse=True)
        self._told = counts
        for count, (list_id, campaign_id, holder_id) in grown[:_LINES]:
            log.warning(
                "two_campaigns_called_one_person",
                list_id=list_id,
                campaign_id=campaign_id,
                holder_campaign_id=holder_id,
                count=count,
            )
        if rest := grown[_LINES:]:
            log.warning(
                "two_campaigns_called_one_person",
                pairs=len(rest),
                count=sum(count for count, _ in rest),
            )
