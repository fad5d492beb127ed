"""Changes that are audited and safe to repeat (R20, R21).

A handler that is `audited` is given the `Change` to make: one call of a changing rpc. The change
writes the audit note (the AuditEntry without what the engine fills in) and, for a call with a
request id, the memo from which a repeat is answered: the rpc, a digest of the request, and the
answer as far as it is known before the commit. A request id belongs to its caller: others may use
the same one and learn nothing of it. The engine stores note and memo in the commit of the
change itself; what only the commit knows (revision, time, count) comes back in the `Outcome`, first
time and repeat alike, and is filled in by the same code.

Runs on worker threads; one Change belongs to one call.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from ownerd.native import Engine, Outcome
from ownerd.server.admin import validate
from ownerd.server.admin.context import AdminContext, Caller, Handler
from ownerd.server.errors import RequestIdReused
from ownerd.v1 import admin_pb2

Answer = TypeVar("Answer", bound=Message)
# Puts into an answer what only the commit knows, besides its revision.
Fill = Callable[[Engine, Any, Outcome], None]

_DIGEST_BYTES = 32


class Change(Generic[Answer]):
    """One changing call, from its request to its answer.

    Args:
        engine: the engine that makes the change.
        caller: who asks.
        action: the rpc's name.
        request: has `reason` and `request_id`.
        answer_type: the response message.
        fill: puts into the answer what only the commit knows, besides the revision.
        digest: SHA-256 of what was asked; None takes the request's own bytes. Who asks counts too.
    """

    def __init__(
        self,
        engine: Engine,
        caller: Caller,
        action: str,
        request: Any,
        answer_type: type[Answer],
        fill: Fill | None = None,
        digest: bytes | None = None,
    ) -> None:
        self._engine = engine
        self._caller = caller
        self._action = action
        self._reason: str = request.reason
        self._request_id: str = request.request_id
        self._answer_type = answer_type
        self._fill = fill
        self._is_new = False
        # A request without an id is never compared.
        self._digest = b""
        if self._request_id:
            asked = digest or digest_of(request)
            who = hashlib.sha256(caller.principal.encode()).digest()
            self._digest = hashlib.sha256(who + asked).digest()

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self._caller

    def first_answer(self) -> Answer | None:
        """Return the answer of the first call with this request id; None if there was none.

        Looked up before anything is checked against the store, because a repeat must get its first
        answer even where the change itself is no longer possible (the list is gone, ...).
        """
        if self._request_id:
            outcome = self._engine.request(self._request_id, self._caller.principal)
            if outcome is not None:
                return self._repeated(outcome)
            # An earlier version kept ids without their callers; the digest has who it was.
            before = self._engine.request(self._request_id)
            if before is not None and self._is_ours(before):
                return self._repeated(before)
        self._is_new = True
        return None

    def make(
        self,
        engine_call: Callable[..., Outcome],
        *arguments: Any,
        detail: Mapping[str, Any],
        answer: Answer | None = None,
        list_id: str = "",
        campaign_ids: Iterable[str] = (),
        shared_list_ids: Iterable[str] | None = None,
        fill: Fill | None = None,
        **keywords: Any,
    ) -> Answer:
        """Commit the change and return the filled answer; a repeat is given its first one.

        Args:
            engine_call: the engine's method, called with `arguments`, `keywords` and the note.
            detail: what is set, for the audit.
            answer: what is known of the answer before the commit.
            list_id, campaign_ids: what the change is about, for the audit.
            shared_list_ids: the other lists that share its ownership; None: looked up.
            fill: in the place of the one that every change of this rpc has.
        """
        self._fill = fill or self._fill
        if not self._is_new and (first := self.first_answer()) is not None:
            return first
        if answer is None:
            answer = self._answer_type()
        outcome = engine_call(
            *arguments,
            note=self.note(detail, list_id, campaign_ids, shared_list_ids),
            request_id=self._request_id,
            requester=self._caller.principal,
            memo=self.memo(answer),
            **keywords,
        )
        return self.answered(outcome, answer)

    def answered(self, outcome: Outcome, answer: Answer) -> Answer:
        """Return the answer for `outcome`, which may be that of an earlier call of the same id."""
        return self._repeated(outcome) if outcome.replayed else self._filled(answer, outcome)

    def note(
        self,
        detail: Mapping[str, Any],
        list_id: str = "",
        campaign_ids: Iterable[str] = (),
        shared_list_ids: Iterable[str] | None = None,
    ) -> bytes:
        """Return the audit entry without its id, time, revision and count."""
        if shared_list_ids is None:
            info = self._engine.get_list(list_id) if list_id else None
            shared_list_ids = info.shares_with if info is not None else ()
        return audit_note(
            self._caller,
            self._action,
            list_id=list_id,
            shared_list_ids=shared_list_ids,
            campaign_ids=campaign_ids,
            reason=self._reason,
            request_id=self._request_id,
            detail=json.dumps(detail, separators=(",", ":"), ensure_ascii=False),
        )

    def memo(self, answer: Answer) -> bytes:
        """Return what a repeat of this call is recognized and answered by."""
        if not self._request_id:
            return b""
        name = self._action.encode() + b"\0"
        return name + self._digest + answer.SerializeToString(deterministic=True)

    def _is_ours(self, outcome: Outcome) -> bool:
        """Whether it is the outcome of this caller's same request."""
        name, _, rest = outcome.memo.partition(b"\0")
        return name == self._action.encode() and rest[:_DIGEST_BYTES] == self._digest

    def _repeated(self, outcome: Outcome) -> Answer:
        name, _, rest = outcome.memo.partition(b"\0")
        if not self._is_ours(outcome):
            raise RequestIdReused(self._request_id, name.decode(errors="replace"))
        return self._filled(self._answer_type.FromString(rest[_DIGEST_BYTES:]), outcome)

    def _filled(self, answer: Answer, outcome: Outcome) -> Answer:
        if self._fill is not None:
            self._fill(self._engine, answer, outcome)
        changed: Any = answer  # every answer to a change has a revision; Message does not say so
        changed.revision = outcome.revision
        return answer


def audit_note(caller: Caller, action: str, **fields: Any) -> bytes:
    """Return an audit entry without what the engine fills in, as it is kept."""
    entry = admin_pb2.AuditEntry(
        principal=caller.principal, peer=caller.peer, action=action, **fields
    )
    return entry.SerializeToString(deterministic=True)


def audited(
    answer_type: type[Answer], fill: Fill | None = None
) -> Callable[[Callable[[AdminContext, Any, Change[Answer]], Answer]], Handler]:
    """Return what makes the handler of a changing rpc of a function that is given the change.

    Reason and request id are checked before it. Where it asks the store whether the change is
    possible, it first gives a repeat its `first_answer`; else `make` does that.
    """
    action = answer_type.DESCRIPTOR.name.removesuffix("Response")

    def decorate(function: Callable[[AdminContext, Any, Change[Answer]], Answer]) -> Handler:
        @functools.wraps(function)
        def handle(context: AdminContext, request: Any, caller: Caller) -> Answer:
            validate.change_fields(request.reason, request.request_id)
            change = Change(context.engine, caller, action, request, answer_type, fill)
            return function(context, request, change)

        return handle

    return decorate


def digest_of(request: Message) -> bytes:
    """Return the SHA-256 of a request."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
