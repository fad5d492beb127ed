"""A client that keeps, in a model of its own, everything that the server has acknowledged.

Each ledger has a list to itself and makes one call at a time, so after a crash at most its last
call is in doubt: the server's state must be the model's, with or without that one call.
"""

import random
import threading
from collections.abc import Callable
from typing import Any

from model import Model
from subject import DAY, OVERWRITE, Policy, Refusal, Row, Subject

RECORDS = [str(number) for number in range(40)] + [f"text-{number}" for number in range(10)]
CAMPAIGNS = ("A", "B", "C")
Call = Callable[[Subject], Any]
Shown = dict[str, tuple[str, str, bool] | None]


class Ledger:
    """What one client did and was told; `connect` gives it a subject for the next life."""

    def __init__(self, list_id: str, seed: int) -> None:
        self.list_id = list_id
        self.chance = random.Random(seed)
        self.model = Model()
        for campaign_id in CAMPAIGNS:
            self.model.upsert_campaign(campaign_id, "")
        self.subject: Subject | None = None
        self.in_doubt: Call | None = None
        self.acknowledged_count = 0
        self.doubts_resolved = {"done": 0, "not done": 0}

    def open(self, subject: Subject) -> None:
        """Create the list."""
        self.subject = subject
        self._acknowledged(lambda s: s.create_list(self.list_id, Policy(True, None, None, DAY)))

    def run(self, stopping: threading.Event) -> None:
        """Make random calls until told to stop or the server is gone."""
        try:
            while not stopping.is_set():
                self._acknowledged(self._random_call())
        except Refusal as refusal:
            assert refusal.code == "UNAVAILABLE", refusal

    def _acknowledged(self, call: Call) -> None:
        """Make the call on the server, then on the model; both must answer alike."""
        assert self.subject is not None
        self.in_doubt = call
        found = call(self.subject)
        self.in_doubt = None
        self.acknowledged_count += 1
        assert decided(found) == decided(call(self.model))

    def _random_call(self) -> Call:
        """Return a call that does the same each time it is made."""
        chance, list_id = self.chance, self.list_id
        campaign_id, record_id = chance.choice(CAMPAIGNS), chance.choice(RECORDS)
        code = chance.choice(("Busy", "Success", "No Lines"))
        some = chance.sample(RECORDS, 12)
        attempts = [(name, chance.choice(("Busy", "No Lines"))) for name in some]
        policy = Policy(chance.random() < 0.9, chance.choice((None, 30 * DAY)), None, DAY)
        rows = [Row(name, campaign_id) for name in some[:3]]
        calls: list[tuple[int, Call]] = [
            (20, lambda s: s.claim(list_id, record_id, campaign_id)),
            (20, lambda s: s.attempt(list_id, record_id, campaign_id, code)),
            (10, lambda s: s.claim_batch(list_id, campaign_id, some)),
            (10, lambda s: s.attempt_batch(list_id, campaign_id, attempts)),
            (2, lambda s: s.release(list_id, [campaign_id], record_id < "2")),
            (1, lambda s: s.release(list_id, None)),
            (2, lambda s: s.release_records(list_id, some)),
            (2, lambda s: s.signal(campaign_id, "STOPPED", list_id, True)),
            (2, lambda s: s.update_policy(list_id, policy)),
            (1, lambda s: s.import_rows(list_id, rows, OVERWRITE)),
        ]
        return chance.choices([call for _, call in calls], [weight for weight, _ in calls])[0]

    def reconcile(self, subject: Subject) -> None:
        """Check that the server has what was acknowledged, and nothing that was never asked."""
        self.subject = subject
        found = self._shown(subject)
        if found == self._shown(self.model):
            done = "not done"
        else:
            assert self.in_doubt is not None, "acknowledged calls are lost, or others were invented"
            self.in_doubt(self.model)
            assert found == self._shown(self.model)
            done = "done"
        if self.in_doubt is not None:
            self.doubts_resolved[done] += 1
        self.in_doubt = None
        owners = [(o.campaign_id, o.owned_count, o.reserved_count) for o in self._owners(subject)]
        expected = self._owners(self.model)
        assert owners == [(o.campaign_id, o.owned_count, o.reserved_count) for o in expected]

    def _owners(self, subject: Subject) -> list[Any]:
        return subject.owners(self.list_id)

    def _shown(self, subject: Subject) -> tuple[Policy, Shown]:
        kinds: Shown = {}
        for name in RECORDS:
            holder = subject.holder(self.list_id, name)
            reserved = holder is not None and holder.reserved_until_ns is not None
            kinds[name] = holder and (holder.kind, holder.campaign_id, reserved)
        return subject.policy(self.list_id), kinds


def decided(answer: Any) -> Any:
    """Return what an answer says apart from revisions and times, which the model cannot know."""
    if hasattr(answer, "what"):
        return answer.what
    return answer if isinstance(answer, tuple) else None
