"""`ownerctl principal`: who may make calls, what they may do, and their tokens.

A token is shown once, by `create` and `rotate`, and by nothing else.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import App, Parameter, validators
from google.protobuf.field_mask_pb2 import FieldMask

from ownerd import durations
from ownerd.ctl.commands.options import InSession, Length, Reason, Session, Yes
from ownerd.ctl.connect import completions
from ownerd.ctl.terminal import confirm, outfiles, times
from ownerd.ctl.terminal.exits import CtlError, Exit
from ownerd.ctl.terminal.output import Column, Kind, Row, warn
from ownerd.v1 import admin_pb2 as pb

if TYPE_CHECKING:
    import grpc  # at run time by ownerd.ctl.connect.channel alone, which sets it up before

app = App(name="principal", help="Say who may make calls, and what; their tokens.")

RightName = Literal["dial", "view", "configure", "ownership_control", "admin"]
RIGHTS: dict[str, pb.Right] = {
    name: getattr(pb, f"RIGHT_{name.upper()}") for name in get_args(RightName)
}
RIGHT_NAMES = {number: name for name, number in RIGHTS.items()}


def _new_tokens(row: Row) -> str:
    return "none: it signs in with a certificate" if row["certificate_names"] else "none"


_HEAD = (Column("principal_id", "Principal"),)
_REST = (
    Column("hide_holders", "Holders are hidden", Kind.FLAG, in_list=False),
    Column("certificate_names", "Certificates", Kind.TEXTS, absent="none"),
    Column("calls_per_s", "Calls/s", Kind.COUNT, absent="no limit", in_list=False),
    Column("records_per_s", "Records/s", Kind.COUNT, absent="no limit", in_list=False),
)
_TAIL = (
    Column("create_time", "Created (UTC)", Kind.TIME, in_list=False),
    Column("update_time", "Changed (UTC)", Kind.TIME, in_list=False),
    Column("etag", "ETag", in_list=False),
)
COLUMNS = {
    "table": (
        *_HEAD,
        Column("may", "May", Kind.LINES, absent="nothing"),
        *_REST,
        Column("token_lines", "Tokens", Kind.LINES, absent=_new_tokens),
        *_TAIL,
    ),
    "json": (*_HEAD, Column("grants", "May"), *_REST, Column("tokens", "Tokens"), *_TAIL),
    "csv": (
        *_HEAD,
        Column("may", "May", Kind.TEXTS),
        *_REST,
        Column("token_ids", "Tokens", Kind.TEXTS),
        *_TAIL,
    ),
}
COLUMNS["jsonl"] = COLUMNS["yaml"] = COLUMNS["name"] = COLUMNS["json"]
ISSUED = (Column("token", "Token"), Column("token_file", "File"))
REVOKED = (
    Column("principal_id", "Principal"),
    Column("revoked_count", "Ended", Kind.COUNT),
    Column("revision", "Revision", Kind.NUMBER),
)
DELETED = (Column("principal_id", "Principal"), Column("revision", "Revision", Kind.NUMBER))
ANSWER = (
    Column("principal_id", "Principal"),
    Column("right", "Right"),
    Column("list_id", "List"),
    Column("campaign_id", "Campaign"),
    Column("allowed", "Allowed", Kind.FLAG),
    Column("explanation", "Why"),
)

TOKENS_AT_ONCE = 2  # of one principal that are valid
ARight = Annotated[RightName, Parameter(help="The right in question.")]
OnList = Annotated[
    str,
    Parameter(
        name="--list", help="On this list; on every list without.", completer=completions.lists
    ),
]
ForCampaign = Annotated[
    str,
    Parameter(
        name="--campaign",
        help="For this campaign; for every campaign without.",
        completer=completions.campaigns,
    ),
]
PrincipalId = Annotated[str, Parameter(help="The principal.", completer=completions.principals)]
Several = Parameter(negative="")
PerSecond = Parameter(validator=validators.Number(gte=0))
CertificateNames = Annotated[
    tuple[str, ...],
    Parameter(
        name="--certificate-name",
        negative="",
        help="Name in a client certificate that stands for it, such as DNS:dialer-a.example; may be"
        " given several times.",
    ),
]
SaveToken = Annotated[
    Path | None,
    Parameter(help="Write the token to this new file of mode 0600 rather than show it."),
]
TokenTtl = Annotated[
    Length | None, Parameter(help="How long the token is valid, e.g. 90d; until revoked without.")
]


@Parameter(name="*")
@dataclass(frozen=True)
class Patterns:
    """What rights are for; * stands for any characters, ? for one."""

    lists: Annotated[
        tuple[str, ...],
        Several,
        Parameter(help="Only on lists like this pattern; may be given several times."),
    ] = ()
    campaigns: Annotated[
        tuple[str, ...],
        Several,
        Parameter(help="Only for campaigns like this pattern; may be given several times."),
    ] = ()

    def grants(self, rights: Sequence[RightName]) -> list[pb.Grant]:
        """Return a grant of each right."""
        if "admin" in rights and (self.lists or self.campaigns):
            raise CtlError(
                Exit.USAGE,
                "the right admin is not for some lists or campaigns only; grant it by itself, with"
                " `ownerctl principal grant`",
            )
        return [
            pb.Grant(right=RIGHTS[name], lists=self.lists, campaigns=self.campaigns)
            for name in dict.fromkeys(rights)
        ]


Rights = Annotated[
    tuple[RightName, ...],
    Parameter(name="--right", negative="", help="A right; may be given several times."),
]


@app.command
def create(
    principal_id: PrincipalId,
    /,
    *,
    rights: Rights = (),
    patterns: Patterns = Patterns(),
    hide_holders: Annotated[
        bool, Parameter(negative="", help="Do not tell it whose a record is that it may not dial.")
    ] = False,
    certificate_names: CertificateNames = (),
    calls_per_s: Annotated[int, PerSecond, Parameter(help="Most calls a second; 0: any.")] = 0,
    records_per_s: Annotated[
        int, PerSecond, Parameter(help="Most records a second that it may ask about; 0: any.")
    ] = 0,
    token_ttl: TokenTtl = None,
    no_token: Annotated[
        bool, Parameter(negative="", help="Make no token; it signs in with a certificate.")
    ] = False,
    save_token: SaveToken = None,
    reason: Reason = "",
    session: InSession,
) -> None:
    """Make a principal with some rights, and its first token.

    The token is printed this once and cannot be had again.
    """
    if no_token and (save_token is not None or token_ttl is not None):
        raise CtlError(Exit.USAGE, "--no-token goes with neither --save-token nor --token-ttl")
    request = pb.CreatePrincipalRequest(
        principal=pb.Principal(
            principal_id=principal_id,
            grants=patterns.grants(rights),
            hide_holders=hide_holders,
            certificate_names=certificate_names,
            calls_per_s=calls_per_s,
            records_per_s=records_per_s,
        ),
        no_token=no_token,
        token_ttl=_ttl(token_ttl),
        reason=reason,
    )
    rpc = session.connection.admin.CreatePrincipal
    done = f"Created principal {principal_id}"
    if no_token:
        answer = session.connection.change(rpc, request)
        _print_principal(answer.principal, session, f"{done}, without a token.")
    else:
        _issue(rpc, request, done, save_token, session)


@app.command
def rotate(
    principal_id: Annotated[
        str, Parameter(help="The principal; without: yourself.", completer=completions.principals)
    ] = "",
    /,
    *,
    token_ttl: TokenTtl = None,
    save_token: SaveToken = None,
    in_place: Annotated[
        bool,
        Parameter(negative="", help="Put your own in the place of the one in your token file."),
    ] = False,
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Make another token; the one before stays valid, so that clients can go over to the new one.

    Two are valid at a time: a third ends the oldest, and asks before; --yes does not. End the old
    one with `principal revoke --old`. Your own needs no right, and lasts as long as the one that
    you have was made for.
    """
    own_file = _own_file(principal_id, save_token, session) if in_place else None
    if not yes or not principal_id:
        found = _get(principal_id, session) if principal_id else _myself(session)
        name = found.principal_id
        if (old := _valid_tokens(found)[: 1 - TOKENS_AT_ONCE]) and not yes:
            ids = ", ".join(token.token_id for token in old)
            question = f"Make a token, and end {confirm.counted(len(old), 'token')} ({ids})"
            confirm.ask("end it", f"{question} of principal {name}?", yes=False)
    request = pb.RotateTokenRequest(
        principal_id=principal_id, token_ttl=_ttl(token_ttl), reason=reason
    )
    done = f"Made a token for principal {principal_id or name}"
    rpc = session.connection.admin.RotateToken
    if own_file is None:
        _issue(rpc, request, done, save_token, session)
        return
    # Beside it first: if it cannot be written, the token that is asked for next would be lost.
    new = own_file.with_name(f"{own_file.name}.new")
    _issue(rpc, request, done, new, session, own_file)


def _own_file(principal_id: str, save_token: Path | None, session: Session) -> Path:
    """Return the file that the caller's token is from.

    Raises:
        CtlError: USAGE, it is somebody else's that is made, or from elsewhere.
    """
    origin = session.connection.access.token
    if principal_id or save_token is not None:
        raise CtlError(
            Exit.USAGE, "--in-place is for your own token; leave the principal and --save-token out"
        )
    if origin is None or origin.kind != "file":
        raise CtlError(Exit.USAGE, "--in-place needs your token in a file, see --token-file")
    return Path(origin.place)


def _myself(session: Session) -> pb.Principal:
    answer = session.connection.ask(session.connection.admin.WhoAmI, pb.WhoAmIRequest())
    found: pb.Principal = answer.principal
    return found


def _ttl(length_ns: int | None) -> Any:
    return None if length_ns is None else durations.to_message(length_ns)


def _issue(
    rpc: "grpc.UnaryUnaryMultiCallable[Any, Any]",
    request: Any,
    done: str,
    file: Path | None,
    session: Session,
    final: Path | None = None,
) -> None:
    """Send a request for a token, and hand the token over; a file becomes `final` in the end."""
    with nullcontext() if file is None else outfiles.made(file) as new_file:
        answer = session.connection.change(rpc, request)
        if not answer.token:
            name = answer.principal.principal_id
            raise CtlError(
                Exit.UNAVAILABLE,
                f"{done}, but the connection broke before its token came, which is shown only once;"
                f" make another: ownerctl principal rotate {name}",
            )
        if new_file is not None:
            new_file.write(answer.token + "\n")
    if file is not None and final is not None:
        with outfiles.written(final):
            os.replace(file, final)
        file = final
    if session.printer.form != "table":
        shown = {"token": answer.token} if file is None else {"token_file": str(file)}
        columns = (*COLUMNS[session.printer.form], *ISSUED)
        session.printer.thing(columns, {**principal_row(answer.principal), **shown})
    elif file is None:
        sys.stdout.write(answer.token + "\n")
        warn(f"{done}. This is its token; it is shown only now.")
    else:
        session.printer.say(f"{done}; its token is in {file}.")


@app.command(name=["list", "ls"])
def list_all(*, session: InSession) -> None:
    """List all principals and what they may do."""
    connection = session.connection
    pages = connection.pages(connection.admin.ListPrincipals, pb.ListPrincipalsRequest())
    session.printer.rows(
        "principals",
        COLUMNS[session.printer.form],
        (principal_row(principal) for page in pages for principal in page.principals),
        empty="There are no principals.",
    )


@app.command
def show(principal_id: PrincipalId, /, *, session: InSession) -> None:
    """Show one principal; its tokens by their ids only."""
    _print_principal(_get(principal_id, session), session)


@app.command(name="set")
def change(
    principal_id: PrincipalId,
    /,
    *,
    hide_holders: Annotated[
        bool | None,
        Parameter(negative="--show-holders", help="Whether to tell it whose a record is."),
    ] = None,
    certificate_names: CertificateNames = (),
    no_certificate_names: Annotated[
        bool, Parameter(negative="", help="Take all of its certificate names away.")
    ] = False,
    calls_per_s: Annotated[
        int | None, PerSecond, Parameter(help="Most calls a second; 0: any.")
    ] = None,
    records_per_s: Annotated[
        int | None, PerSecond, Parameter(help="Most records a second; 0: any.")
    ] = None,
    etag: Annotated[str, Parameter(help="Change it only if its ETag is still this one.")] = "",
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Change a principal: only what you name. Its rights: see grant and ungrant.

    Asks if a certificate name of it is no longer its own; --yes does not.
    """
    if certificate_names and no_certificate_names:
        raise CtlError(Exit.USAGE, "give --certificate-name or --no-certificate-names, not both")
    names = certificate_names if certificate_names or no_certificate_names else None
    settings: dict[str, Any] = {
        "hide_holders": hide_holders,
        "certificate_names": names,
        "calls_per_s": calls_per_s,
        "records_per_s": records_per_s,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    if not given:
        raise CtlError(Exit.USAGE, "nothing to change; name a setting, such as --calls-per-s 100")
    principal = pb.Principal(principal_id=principal_id, **given)
    if names is not None and not yes:
        _ask_about_names(principal_id, names, session)
    _update(principal, list(given), etag, reason, session)


def _ask_about_names(principal_id: str, names: Sequence[str], session: Session) -> None:
    """Ask if somebody who signs in with a certificate no longer could."""
    had = _get(principal_id, session).certificate_names
    if gone := [name for name in had if name not in names]:
        what = f"{confirm.counted(len(gone), 'certificate name')} ({', '.join(gone)})"
        question = f"Take {what} from principal {principal_id}?"
        confirm.ask("take it away", question, yes=False)


@app.command
def grant(
    principal_id: PrincipalId,
    /,
    *,
    rights: Rights,
    patterns: Patterns = Patterns(),
    reason: Reason = "",
    session: InSession,
) -> None:
    """Give a principal further rights; those that it has stay."""
    principal = _get(principal_id, session)
    wanted = [each for each in patterns.grants(rights) if each not in principal.grants]
    if not wanted:
        _print_principal(principal, session, f"Principal {principal_id} has that already.")
        return
    principal.grants.extend(wanted)
    _update(principal, ["grants"], principal.etag, reason, session)


@app.command
def ungrant(
    principal_id: PrincipalId,
    /,
    *,
    rights: Rights,
    patterns: Patterns = Patterns(),
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """Take rights from a principal: all grants of a right, or with patterns just that grant.

    Shows which and asks; --yes skips both.
    """
    principal = _get(principal_id, session)
    if patterns == Patterns():
        numbers = {RIGHTS[name] for name in rights}
        left = [each for each in principal.grants if each.right not in numbers]
        found = numbers <= {each.right for each in principal.grants}
    else:
        unwanted = patterns.grants(rights)
        left = [each for each in principal.grants if each not in unwanted]
        found = all(each in principal.grants for each in unwanted)
    if not found:
        raise CtlError(
            Exit.NOT_FOUND,
            f"principal {principal_id} has no such grant, nothing was changed; it may:"
            f" {'; '.join(map(_may, principal.grants)) or 'nothing'}",
        )
    gone = [each for each in principal.grants if each not in left]
    what = f"{confirm.counted(len(gone), 'grant')} ({'; '.join(map(_may, gone))})"
    confirm.ask("take it away", f"Take {what} from principal {principal_id}?", yes=yes)
    del principal.grants[:]
    principal.grants.extend(left)
    _update(principal, ["grants"], principal.etag, reason, session)


def _update(
    principal: pb.Principal, paths: list[str], etag: str, reason: str, session: Session
) -> None:
    request = pb.UpdatePrincipalRequest(
        principal=principal, update_mask=FieldMask(paths=paths), etag=etag, reason=reason
    )
    answer = session.connection.change(session.connection.admin.UpdatePrincipal, request)
    name = principal.principal_id
    _print_principal(answer.principal, session, f"Changed principal {name}.")


@app.command
def revoke(
    principal_id: PrincipalId,
    token_ids: Annotated[
        tuple[str, ...], Parameter(help="Ids of tokens, as `principal show` has them.")
    ] = (),
    /,
    *,
    all_tokens: Annotated[
        bool, Parameter(name="--all", negative="", help="End every token that it has.")
    ] = False,
    old: Annotated[
        bool, Parameter(negative="", help="End all of its tokens but the newest.")
    ] = False,
    reason: Reason = "",
    yes: Yes = False,
    session: InSession,
) -> None:
    """End tokens of a principal, at once. Says how many and asks; --yes does not."""
    if sum((bool(token_ids), all_tokens, old)) != 1:
        raise CtlError(
            Exit.USAGE, "say which tokens to end: exactly one of their ids, --all and --old"
        )
    connection = session.connection
    if old or not yes:
        tokens = _valid_tokens(_get(principal_id, session))
        if old:
            token_ids = tuple(token.token_id for token in tokens[:-1])
        ends = [token for token in tokens if all_tokens or token.token_id in token_ids]
        if ends:
            what = confirm.counted(len(ends), "token")
            confirm.ask("end them", f"End {what} of principal {principal_id}?", yes=yes)
    request = pb.RevokeTokensRequest(
        principal_id=principal_id, all_tokens=all_tokens, token_ids=token_ids, reason=reason
    )
    revoked_count, revision = 0, None
    if all_tokens or token_ids:
        answer = connection.change(connection.admin.RevokeTokens, request)
        revoked_count, revision = answer.revoked_count, answer.revision
    row = {"principal_id": principal_id, "revoked_count": revoked_count, "revision": revision}
    noun = "token" if revoked_count == 1 else "tokens"
    session.printer.done(f"Ended {revoked_count} {noun} of principal {principal_id}.", REVOKED, row)


@app.command
def delete(
    principal_id: PrincipalId, /, *, reason: Reason = "", yes: Yes = False, session: InSession
) -> None:
    """Delete a principal with all its tokens, at once. Says how many and asks; --yes does not."""
    connection = session.connection
    if not yes:
        found = _get(principal_id, session)
        names = len(found.certificate_names)
        ends = [
            confirm.counted(len(_valid_tokens(found)), "token"),
            *([confirm.counted(names, "certificate name")] if names else []),
        ]
        question = f"Delete principal {principal_id}, with {' and '.join(ends)}?"
        confirm.ask("delete it", question, yes=False)
    request = pb.DeletePrincipalRequest(principal_id=principal_id, reason=reason)
    answer = connection.change(connection.admin.DeletePrincipal, request)
    row = {"principal_id": principal_id, "revision": answer.revision}
    session.printer.done(f"Deleted principal {principal_id}.", DELETED, row)


@app.command
def can(
    principal_id: PrincipalId,
    right: ARight,
    /,
    *,
    list_id: OnList = "",
    campaign_id: ForCampaign = "",
    session: InSession,
) -> Exit:
    """Say whether a principal has a right: exit code 0 for yes, 1 for no."""
    return say_whether(principal_id, right, list_id, campaign_id, session)


def say_whether(
    principal_id: str, right: RightName, list_id: str, campaign_id: str, session: Session
) -> Exit:
    """Say whether a principal, or the caller for "", has a right."""
    connection = session.connection
    request = pb.CheckAccessRequest(
        principal_id=principal_id, right=RIGHTS[right], list_id=list_id, campaign_id=campaign_id
    )
    answer = connection.ask(connection.admin.CheckAccess, request)
    row = {
        "principal_id": principal_id or None,
        "right": right,
        "list_id": list_id or None,
        "campaign_id": campaign_id or None,
        "allowed": answer.allowed,
        "explanation": answer.explanation,
    }
    said = f"{'yes' if answer.allowed else 'no'}: {answer.explanation}"
    session.printer.done(said, ANSWER, row)
    return Exit.OK if answer.allowed else Exit.DECLINED


def _get(principal_id: str, session: Session) -> pb.Principal:
    connection = session.connection
    request = pb.GetPrincipalRequest(principal_id=principal_id)
    answer: pb.GetPrincipalResponse = connection.ask(connection.admin.GetPrincipal, request)
    return answer.principal


def _valid_tokens(principal: pb.Principal) -> list[pb.Token]:
    """Return those of its tokens that can still be used, oldest first."""
    now_ns = times.now_ns()
    return [
        token
        for token in principal.tokens
        if not token.HasField("expire_time") or token.expire_time.ToNanoseconds() > now_ns
    ]


def _print_principal(principal: pb.Principal, session: Session, message: str = "") -> None:
    columns = COLUMNS[session.printer.form]
    session.printer.thing(columns, principal_row(principal), message=message)


def principal_row(principal: pb.Principal) -> Row:
    """Return a principal as raw values."""
    return {
        "principal_id": principal.principal_id,
        "grants": [_grant_json(each) for each in principal.grants],
        "may": [_may(each) for each in principal.grants],
        "hide_holders": principal.hide_holders,
        "certificate_names": list(principal.certificate_names),
        "calls_per_s": principal.calls_per_s or None,
        "records_per_s": principal.records_per_s or None,
        "tokens": [_token_json(token) for token in principal.tokens],
        "token_lines": [_token_line(token) for token in principal.tokens],
        "token_ids": [token.token_id for token in principal.tokens],
        "create_time": principal.create_time.ToNanoseconds(),
        "update_time": principal.update_time.ToNanoseconds(),
        "etag": principal.etag,
    }


def _grant_json(each: pb.Grant) -> dict[str, Any]:
    return {
        "right": _right_name(each),
        "lists": list(each.lists),
        "campaigns": list(each.campaigns),
    }


def _right_name(each: pb.Grant) -> str:
    return RIGHT_NAMES.get(each.right, f"right {each.right}")


def _may(each: pb.Grant) -> str:
    """Say what a grant allows: `dial on lists cust*, for campaigns spring`."""
    lists = f" on lists {', '.join(each.lists)}" if each.lists else ""
    campaigns = f" for campaigns {', '.join(each.campaigns)}" if each.campaigns else ""
    return f"{_right_name(each)}{lists}{campaigns}"


def _token_json(token: pb.Token) -> dict[str, Any]:
    ends = token.HasField("expire_time")
    return {
        "token_id": token.token_id,
        "create_time": times.rfc3339(token.create_time.ToNanoseconds()),
        "expire_time": times.rfc3339(token.expire_time.ToNanoseconds()) if ends else None,
    }


def _token_line(token: pb.Token) -> str:
    made = f"{token.token_id}, of {times.plain(token.create_time.ToNanoseconds())}"
    if token.HasField("expire_time"):
        return f"{made}, until {times.plain(token.expire_time.ToNanoseconds())}"
    return made
