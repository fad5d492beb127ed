"""Ownership policies: fields, defaults, limits (R12-R14), and the rpc that changes them."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict

from ownerd.native import Engine, ListInfo, Outcome, Policy
from ownerd.server.admin import convert, validate
from ownerd.server.admin.audited_change import Change, audited
from ownerd.server.admin.context import AdminContext, Handler
from ownerd.server.errors import InvalidField, ListNotFound, StaleEtag, Words
from ownerd.v1 import admin_pb2

RESERVATION_TTL_NS = 900 * convert.SECOND_NS
DEFAULT = Policy(
    enabled=False, duration_ns=None, renewal_window_ns=None, reservation_ttl_ns=RESERVATION_TTL_NS
)

Default = TypeVar("Default", int, None)

# Names in an update mask, and the fields of Policy that each sets.
_EXPIRATION_PATHS = ("duration", "no_expiration", "expiration")
_PATHS: Mapping[str, str] = {
    "enabled": "enabled",
    **dict.fromkeys(_EXPIRATION_PATHS, "duration_ns"),
    "renewal_window": "renewal_window_ns",
    "reservation_ttl": "reservation_ttl_ns",
}


def read(policy: admin_pb2.OwnershipPolicy) -> Policy:
    """Return the policy that a message sets, with defaults for what is absent.

    Raises:
        InvalidField: a field outside its limits.
    """
    return Policy(
        enabled=policy.enabled,
        duration_ns=_read_duration(policy),
        renewal_window_ns=_read_length(policy, "renewal_window", 0, None),
        reservation_ttl_ns=_read_length(
            policy, "reservation_ttl", convert.SECOND_NS, RESERVATION_TTL_NS
        ),
    )


def spell(policy: Policy) -> admin_pb2.OwnershipPolicy:
    """Return the message of a policy in force."""
    message = admin_pb2.OwnershipPolicy(
        enabled=policy.enabled, reservation_ttl=convert.duration_of(policy.reservation_ttl_ns)
    )
    if policy.duration_ns is None:
        message.no_expiration = True
    else:
        message.duration.CopyFrom(convert.duration_of(policy.duration_ns))
    # The default window follows the duration, so it is shown by its absence.
    if policy.renewal_window_ns is not None:
        message.renewal_window.CopyFrom(convert.duration_of(policy.renewal_window_ns))
    return message


def describe(policy: Policy) -> dict[str, Any]:
    """Return a policy as the audit's detail shows it."""
    return {"enabled": False} | MessageToDict(spell(policy), preserving_proto_field_name=True)


def etag_of(revision: int, incarnation: int) -> str:
    """Return the etag of a policy last changed at `revision`, of this incarnation of the store."""
    return f"{revision}-{incarnation:016x}"


def expected_revision(etag: str, info: ListInfo, incarnation: int) -> int:
    """Return the revision that the engine shall insist on: the list's own, or 0 for no etag.

    Raises:
        StaleEtag: `etag` is not the list's.
    """
    if not etag:
        return 0
    if etag != (current := etag_of(info.update_revision, incarnation)):
        raise StaleEtag(etag, current)
    return info.update_revision


def list_message(
    list_id: str,
    policy: Policy,
    create_ns: int,
    update_ns: int,
    etag: str,
    shares_with: Iterable[str] = (),
) -> admin_pb2.ContactList:
    """Return the message of a contact list."""
    return admin_pb2.ContactList(
        list_id=list_id,
        policy=spell(policy),
        etag=etag,
        create_time=convert.time_of(create_ns),
        update_time=convert.time_of(update_ns),
        shares_ownership_with=shares_with,
    )


def merge(current: Policy, policy: admin_pb2.OwnershipPolicy, paths: Iterable[str]) -> Policy:
    """Return `current` with the fields that an update names.

    Args:
        policy: the new values; a masked field that is absent here gets its default.
        paths: the update mask; empty takes every field present, and `enabled` always (AIP-134).

    Raises:
        InvalidField: an unknown path, or a field outside its limits.
    """
    wanted = list(paths) or _present(policy)
    if wanted == ["*"]:
        wanted = ["enabled", "expiration", "renewal_window", "reservation_ttl"]
    for path in wanted:
        _check_path(path, policy)
    new = read(policy)
    return current._replace(**{_PATHS[path]: getattr(new, _PATHS[path]) for path in wanted})


def _present(policy: admin_pb2.OwnershipPolicy) -> list[str]:
    return ["enabled", *(field.name for field, _ in policy.ListFields() if field.name != "enabled")]


def _check_path(path: str, policy: admin_pb2.OwnershipPolicy) -> None:
    if path not in _PATHS:
        raise InvalidField("update_mask", path, f"{', '.join(_PATHS)}, or * alone for all")
    present = policy.WhichOneof("expiration")
    if path in _EXPIRATION_PATHS[:2] and present not in (None, path):
        raise InvalidField("update_mask", path, f"{present}, which policy sets, or expiration")


def _read_duration(policy: admin_pb2.OwnershipPolicy) -> int | None:
    which = policy.WhichOneof("expiration")
    if which == "duration":
        return convert.length_ns("policy.duration", policy.duration, convert.SECOND_NS)
    if which == "no_expiration" and not policy.no_expiration:
        allowed = "true; or set policy.duration instead"
        raise InvalidField("policy.no_expiration", Words("false"), allowed)
    return None


def _read_length(
    policy: admin_pb2.OwnershipPolicy, field: str, least_ns: int, default_ns: Default
) -> int | Default:
    if not policy.HasField(field):
        return default_ns
    return convert.length_ns(f"policy.{field}", getattr(policy, field), least_ns)


def _fill(
    engine: Engine, answer: admin_pb2.UpdateOwnershipPolicyResponse, outcome: Outcome
) -> None:
    answer.list.etag = etag_of(outcome.revision, engine.incarnation)
    answer.list.update_time.CopyFrom(convert.time_of(outcome.time_ns))


@audited(admin_pb2.UpdateOwnershipPolicyResponse, _fill)
def _update(
    context: AdminContext,
    request: admin_pb2.UpdateOwnershipPolicyRequest,
    change: Change[admin_pb2.UpdateOwnershipPolicyResponse],
) -> admin_pb2.UpdateOwnershipPolicyResponse:
    validate.list_id(request.list_id)
    if not request.HasField("policy"):
        raise InvalidField("policy", Words("none"), "the policy's new values")
    merge(DEFAULT, request.policy, request.update_mask.paths)
    # A merge is only right on top of the policy that it was made from, and a concurrent change of
    # another field is no reason to fail.
    with context.change_lock:
        return _update_locked(context, request, change)


def _update_locked(
    context: AdminContext,
    request: admin_pb2.UpdateOwnershipPolicyRequest,
    change: Change[admin_pb2.UpdateOwnershipPolicyResponse],
) -> admin_pb2.UpdateOwnershipPolicyResponse:
    if (answer := change.first_answer()) is not None:
        return answer
    info = context.engine.get_list(request.list_id)
    if info is None:
        raise ListNotFound(request.list_id)
    expected_revision(request.etag, info, context.engine.incarnation)
    policy = merge(info.policy, request.policy, request.update_mask.paths)
    if request.dry_run:
        return _dry_run(context.engine, info, policy)
    return change.make(
        context.engine.update_policy,
        request.list_id,
        policy,
        expected_revision=info.update_revision,
        list_id=request.list_id,
        detail={"before": describe(info.policy), "after": describe(policy)},
        answer=admin_pb2.UpdateOwnershipPolicyResponse(
            list=list_message(request.list_id, policy, info.create_ns, 0, "", info.shares_with)
        ),
    )


def _dry_run(
    engine: Engine, info: ListInfo, policy: Policy
) -> admin_pb2.UpdateOwnershipPolicyResponse:
    """Count the ownerships that would expire sooner (R12)."""
    message = list_message(
        info.list_id,
        policy,
        info.create_ns,
        info.update_ns,
        etag_of(info.update_revision, engine.incarnation),
        info.shares_with,
    )
    with engine.snapshot(info.list_id) as snapshot:
        moves = policy.duration_ns not in (info.policy.duration_ns, None)
        end_ns = snapshot.time_ns + (policy.duration_ns or 0)
        return admin_pb2.UpdateOwnershipPolicyResponse(
            list=message,
            revision=snapshot.revision,
            shortened_count=snapshot.count_owned(after_ns=end_ns) if moves else 0,
        )


HANDLERS: Mapping[str, Handler] = {"UpdateOwnershipPolicy": _update}
