"""Both clients, from one source: `AsyncClient` in `_async.py`, `Client` in `_sync.py`.

The build makes `_sync.py` of `_async.py` by leaving out async and await (unasync, see setup.py). So
the words here are read in both, and what differs in more than that is in `transport`.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from ownerd.client.credentials import StrPath
from ownerd.client.events import Revision
from ownerd.client.fail_over import Attempts
from ownerd.client.requests import admin, dial, principals
from ownerd.client.requests.call import ADMIN, DIAL, PAGE_SIZE, Call, Chunks, Page, id_list
from ownerd.client.requests.watches import CALL_S, Following
from ownerd.client.transport import (
    ADMIN_TIMEOUT_S,
    DEFAULT_TARGET,
    AsyncTransport,
    Identity,
    Targets,
    to_client_error,
)
from ownerd.client.values import (
    UNCHANGED,
    Access,
    Attempt,
    AuditEntry,
    CallerAccess,
    Campaign,
    Claim,
    ClaimBatch,
    ContactList,
    Grant,
    Holder,
    Imported,
    Issued,
    OnConflict,
    OwnedRecord,
    Owners,
    OwnershipRow,
    Policy,
    Principal,
    Released,
    Report,
    ReportBatch,
    Right,
    ServerStatus,
    Signal,
    Signaled,
    StoreSettings,
    Transferred,
    Unchanged,
    UnknownCode,
    UnknownWrapUpCode,
)

Result = TypeVar("Result")


class AsyncClient:
    """Talk to an ownerd server.

    A `Client` may be shared by all threads of a program. It connects at the first call and again
    after a loss. gRPC does not survive `os.fork`: make the client in the process that uses it.

    An `AsyncClient` has the same methods, awaited; only `lists`, `campaigns`, `owned_records`,
    `audit_entries`, `principals`, `export_ownership` and `watch` are iterated (`async for`). It
    belongs to one event loop, that of its first call, where any number of tasks may share it. A
    cancelled call may still take effect on the server; sending it again is safe (R20).

    `target` is the address of the dial listener, `admin_target` that of the admin listener, which
    serves both services: None sends the admin calls to `target` too. Every call has a deadline:
    `timeout_s` (None: 5 seconds) for claims and reports, `admin_timeout_s` for the rest; a call's
    own `timeout_s` overrides it. A long batch is several rpcs, each with that deadline.

    Of a cluster give all addresses, `"a:7411,b:7411"` in each of the two: the client finds the one
    that leads, stays with it, and goes on to the next when it is gone. One attempt may take
    `attempt_timeout_s` (None: 2.5 seconds, half of the lease that a cluster has by default), after
    that the call is sent to the next address; for six times as long, which `timeout_s` is by
    default then, so that calls outlast a fail-over. An import and an export that have begun are not
    sent again; a `watch` goes on.

    Who you are: `token` is a bearer token, `token_file` a file that holds it, read again when it
    changes, so that a new token needs no restart. Neither: OWNERD_TOKEN or OWNERD_TOKEN_FILE of the
    environment counts; an empty `token` is none. TLS: `ca_file` has the CAs to trust the server by,
    `tls=True` alone trusts the machine's; `cert_file` and `key_file` are a client certificate and
    its key, `server_name` is the name in the server's certificate, where that is not the host of
    the target. All these files are PEM, and read once, now. Without TLS a token is sent as it is:
    use that on loopback only.

    Making a client raises OSError where such a file cannot be read, ValueError where it does not
    hold what it should or the arguments contradict each other. Every call raises a `ClientError`:
    `Unavailable` when the server could not be reached in several tries, `DeadlineExceeded`,
    `Unauthenticated`, `PermissionDenied`, `ResourceExhausted`, `InvalidArgument`, `NotFound`;
    others where they are named. No call does harm when it is repeated after an error (R20).
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        admin_target: str | None = None,
        timeout_s: float | None = None,
        admin_timeout_s: float = ADMIN_TIMEOUT_S,
        attempt_timeout_s: float | None = None,
        token: str | None = None,
        token_file: StrPath | None = None,
        tls: bool | None = None,
        ca_file: StrPath | None = None,
        cert_file: StrPath | None = None,
        key_file: StrPath | None = None,
        server_name: str | None = None,
    ) -> None:
        identity = Identity(token, token_file, tls, ca_file, cert_file, key_file, server_name)
        self._targets = Targets(target, admin_target or target, attempt_timeout_s)
        self._transport = AsyncTransport(identity, self._targets)
        self._timeouts_s = {
            DIAL: self._targets.dial_timeout_s if timeout_s is None else timeout_s,
            ADMIN: admin_timeout_s,
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls under way end with an error. Closing again does nothing."""
        await self._transport.close()

    def _attempts(
        self, call: Call[Any], timeout_s: float | None, *, whole: bool = False
    ) -> Attempts:
        if timeout_s is None:
            timeout_s = self._timeouts_s[call.service]
        return self._targets.attempts(call, timeout_s, whole=whole)

    async def _run(
        self, call: Call[Result], timeout_s: float | None, *, whole: bool = False
    ) -> Result:
        attempts = self._attempts(call, timeout_s, whole=whole)
        while True:
            try:
                return call.read(await self._transport.send(call, attempts))
            except grpc.RpcError as error:
                pause_s = attempts.pause_after(error)
                if pause_s is None:
                    raise to_client_error(call, error) from None
            await self._transport.pause(pause_s)

    async def _find_leader(self) -> None:
        """Go to the address that leads: a stream that has begun cannot be sent again."""
        if self._targets.admin.are_several:
            await self._run(admin.caller_access(""), None)

    async def _run_chunks(self, chunks: Chunks[Any, Result], timeout_s: float | None) -> Result:
        return chunks.join([await self._run(call, timeout_s) for call in chunks.calls])

    async def _run_pages(
        self, page_call: Callable[[str], Call[Page[Result]]], timeout_s: float | None
    ) -> AsyncGenerator[Result]:
        token = ""
        while True:
            page = await self._run(page_call(token), timeout_s)
            for item in page.items:
                yield item
            token = page.next_token
            if not token:
                return

    # The data plane

    async def claim(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        *,
        dialer_id: str | None = None,
        reservation_ttl: timedelta | None = None,
        timeout_s: float | None = None,
    ) -> Claim:
        """Ask whether a campaign may dial a record now; a grant reserves the record for it.

        Dial only if the answer is `allowed`, and report the attempt afterwards, or the record stays
        reserved until the reservation TTL is over (R4-R6). Claim again before that while a call
        lasts: that extends it.

        `dialer_id` names the dialer, the smallest thing of the campaign that dials one call at a
        time: no other dialer is granted the record meanwhile (R22). `reservation_ttl` is how long
        it is reserved, 1 second to 24 hours; None: as long as the list's policy says.
        """
        call = dial.claim(list_id, record_id, campaign_id, dialer_id, reservation_ttl)
        return await self._run(call, timeout_s)

    async def claim_batch(
        self,
        list_id: str,
        campaign_id: str,
        record_ids: Iterable[str],
        *,
        dialer_id: str | None = None,
        reservation_ttl: timedelta | None = None,
        timeout_s: float | None = None,
    ) -> ClaimBatch:
        """Claim any number of records for one campaign; the answers are in their order.

        Each record is decided for itself; a bad id is answered `INVALID` and spoils no other (R25).
        The records go out in commits of 10,000: when one of them fails, those before it stand.
        `dialer_id` and `reservation_ttl` as in `claim`.
        """
        chunks = dial.claim_batch(list_id, campaign_id, record_ids, dialer_id, reservation_ttl)
        return await self._run_chunks(chunks, timeout_s)

    async def report(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        wrap_up_code: str,
        *,
        dialer_id: str | None = None,
        attempt_time: datetime | None = None,
        reservation_id: int | None = None,
        timeout_s: float | None = None,
    ) -> Report:
        """Report how a dial ended, such as "Busy"; a valid attempt makes the campaign the owner.

        `attempt_time` is when it ended, an aware datetime: give it always, then the report may be
        sent again at any time and does nothing more. `reservation_id` is that of the claim's
        answer, `dialer_id` the one of the claim (R24). None of each: not told, and the attempt
        ended now.

        Raises `InvalidArgument` for a code that the server does not know, or a time that is more
        than 10 seconds ahead of the server's; ValueError for a time without a time zone (R7-R11).
        """
        attempt = Attempt(record_id, wrap_up_code, attempt_time, reservation_id or 0)
        return await self._run(dial.report(list_id, campaign_id, dialer_id, attempt), timeout_s)

    async def report_batch(
        self,
        list_id: str,
        campaign_id: str,
        attempts: Iterable[Attempt | tuple[str, str] | tuple[str, str, datetime | None]],
        *,
        dialer_id: str | None = None,
        timeout_s: float | None = None,
    ) -> ReportBatch:
        """Report any number of attempts of one campaign.

        Each is an `Attempt`, or (record id, wrap-up code), or these two and the attempt's time. The
        answers are in their order; a bad id, code or time is answered `INVALID` and spoils no other
        (R25). Cut into commits as in `claim_batch`.
        """
        chunks = dial.report_batch(list_id, campaign_id, attempts, dialer_id)
        return await self._run_chunks(chunks, timeout_s)

    async def give_back(
        self, campaign_id: str, dialer_id: str, *, list_id: str = "", timeout_s: float | None = None
    ) -> int:
        """End all reservations of one dialer, in a list or in all; return the revision of it (R23).

        For a node that starts, stops or is found dead. No ownership changes. Wait for the answer
        before the dialer claims again.
        """
        return await self._run(dial.give_back(campaign_id, dialer_id, list_id), timeout_s)

    async def holder(
        self, list_id: str, record_id: str, *, timeout_s: float | None = None
    ) -> Holder | None:
        """Return the campaign that holds a record now, None if nobody does."""
        return await self._run(dial.holder(list_id, record_id), timeout_s)

    # The control plane

    async def create_list(
        self,
        list_id: str,
        policy: Policy | None = None,
        *,
        shares_ownership_with: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> ContactList:
        """Create a contact list; without a policy its ownership is disabled.

        With `shares_ownership_with` it shares that list's holds and policy, for good (R28): give
        no policy then.

        `reason` goes to the audit log. `request_id` (1 to 64 bytes, None = a random one) makes a
        repeat within 24 hours return the first answer. Raises `AlreadyExists`.
        """
        call = admin.create_list(list_id, policy, shares_ownership_with, reason, request_id)
        return await self._run(call, timeout_s)

    async def get_list(self, list_id: str, *, timeout_s: float | None = None) -> ContactList:
        """Return a list and the policy in force."""
        return await self._run(admin.get_list(list_id), timeout_s)

    def lists(self, *, timeout_s: float | None = None) -> AsyncGenerator[ContactList]:
        """Yield every list in the order of the ids, fetched by pages."""
        return self._run_pages(admin.lists_page, timeout_s)

    async def delete_list(
        self,
        list_id: str,
        *,
        force: bool = False,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Delete a list and return the revision of it; `force` deletes what is held with it.

        Raises `FailedPrecondition` for live ownership or reservations without `force`, `Aborted`
        for a stale `etag`.
        """
        call = admin.delete_list(list_id, force, etag, reason, request_id)
        return await self._run(call, timeout_s)

    async def set_policy(
        self,
        list_id: str,
        *,
        enabled: bool | Unchanged = UNCHANGED,
        duration: timedelta | Unchanged | None = UNCHANGED,
        renewal_window: timedelta | Unchanged | None = UNCHANGED,
        reservation_ttl: timedelta | Unchanged | None = UNCHANGED,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> ContactList:
        """Change the parts of a list's policy that are given; see `Policy` for their meaning.

        A new duration counts from now for every owned record (R12); disabling leaves ownership in
        force (R13). With the `etag` of an earlier read, raises `Aborted` if it has changed since.
        """
        lengths = {
            "duration": duration,
            "renewal_window": renewal_window,
            "reservation_ttl": reservation_ttl,
        }
        call = admin.set_policy(list_id, enabled, lengths, etag, reason, request_id)
        return await self._run(call, timeout_s)

    async def owners(self, list_id: str, *, timeout_s: float | None = None) -> Owners:
        """Return how many records of a list each campaign owns and has reserved (R17)."""
        return await self._run(admin.owners(list_id), timeout_s)

    def owned_records(
        self,
        list_id: str,
        campaign_ids: str | Iterable[str] = (),
        *,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[OwnedRecord]:
        """Yield the owned records of a list, of all campaigns or of those given, by pages.

        Each page is exact as of its own moment.
        """
        wanted = id_list(campaign_ids)
        return self._run_pages(
            lambda token: admin.owned_records_page(list_id, wanted, token), timeout_s
        )

    async def release(
        self,
        list_id: str = "",
        campaign_ids: str | Iterable[str] = (),
        *,
        all_campaigns: bool = False,
        all_lists: bool = False,
        include_reservations: bool = False,
        dry_run: bool = False,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Released:
        """End all ownership of some campaigns, or of all, in a list at one instant (R15).

        Exactly one of `campaign_ids` and `all_campaigns`, and of `list_id` and `all_lists`. Dials
        in progress keep their reservation unless `include_reservations`. A dry run counts and
        changes nothing.
        """
        call = admin.release(
            list_id,
            campaign_ids,
            all_campaigns,
            all_lists,
            include_reservations,
            dry_run,
            reason,
            request_id,
        )
        return await self._run(call, timeout_s)

    async def transfer(
        self,
        from_campaign_id: str,
        to_campaign_id: str,
        *,
        list_id: str = "",
        all_lists: bool = False,
        dry_run: bool = False,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Transferred:
        """Give all ownership of one campaign to another at one instant (R27).

        Exactly one of `list_id` and `all_lists`. Expirations stay. A dry run counts and changes
        nothing.
        """
        call = admin.transfer(
            from_campaign_id, to_campaign_id, list_id, all_lists, dry_run, reason, request_id
        )
        return await self._run(call, timeout_s)

    async def release_records(
        self,
        list_id: str,
        record_ids: Iterable[str],
        *,
        only_if_campaign_id: str = "",
        include_reservations: bool = False,
        reason: str = "",
        timeout_s: float | None = None,
    ) -> Released:
        """End the ownership of single records, any number, in commits of 10,000 (R15).

        With `only_if_campaign_id` only what that campaign owns: `not_released` names the others.
        """
        chunks = admin.release_records(
            list_id, record_ids, only_if_campaign_id, include_reservations, reason
        )
        return await self._run_chunks(chunks, timeout_s)

    async def upsert_campaign(
        self,
        campaign_id: str,
        name: str,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Give a campaign its display name, register it if it is new, and return the revision."""
        call = admin.upsert_campaign(campaign_id, name, reason, request_id)
        return await self._run(call, timeout_s)

    async def delete_campaign(
        self,
        campaign_id: str,
        *,
        force: bool = False,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Released:
        """Make a campaign unknown, with its name; `force` ends what it holds in all lists.

        Raises `FailedPrecondition` while it holds anything, without `force`.
        """
        call = admin.delete_campaign(campaign_id, force, reason, request_id)
        return await self._run(call, timeout_s)

    async def unknown_wrap_up_codes(
        self, *, timeout_s: float | None = None
    ) -> list[UnknownWrapUpCode]:
        """Return the unknown codes reported since the server started, most frequent first (R26)."""
        return await self._run(admin.unknown_codes(), timeout_s)

    async def get_settings(self, *, timeout_s: float | None = None) -> StoreSettings:
        """Return what is set for the whole store."""
        return await self._run(admin.get_settings(), timeout_s)

    async def set_settings(
        self,
        *,
        unknown_wrap_up_code: UnknownCode,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> StoreSettings:
        """Set what an attempt with an unknown wrap-up code is (R26)."""
        call = admin.set_settings(unknown_wrap_up_code, reason, request_id)
        return await self._run(call, timeout_s)

    async def signal_campaign(
        self,
        campaign_id: str,
        signal: Signal,
        *,
        list_id: str = "",
        end_reservations: bool = False,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Signaled:
        """Tell that a campaign stopped, was recycled or reset (R16).

        Args:
            campaign_id: which campaign.
            signal: what it did.
            list_id: the list that it happened in; empty: all lists.
            end_reservations: end its reservations at once, as for one whose dialers are dead; only
                with a stop.
            reason: why, for the audit.
            request_id: makes a repeat safe (R20); None: a fresh one.
            timeout_s: as for every call.
        """
        call = admin.signal_campaign(
            campaign_id, signal, list_id, end_reservations, reason, request_id
        )
        return await self._run(call, timeout_s)

    async def import_ownership(
        self,
        list_id: str,
        rows: Iterable[OwnershipRow],
        *,
        on_conflict: OnConflict = OnConflict.FAIL,
        exact: bool = False,
        rename_campaigns: bool = False,
        expire_by_policy: bool = False,
        dry_run: bool = False,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Imported:
        """Load ownership from any number of rows, taken while they are sent (R32).

        One bad row refuses the whole import, nothing changes. An exception of `rows` cancels the
        import and is raised here. Raises `FailedPrecondition` for a conflict under
        `OnConflict.FAIL`. Give long imports their `timeout_s`.

        Args:
            list_id: the list.
            rows: no record for two campaigns.
            on_conflict: what becomes of rows whose record another campaign holds.
            exact: set expirations and acquisition times as they are in the rows, also where that
                shortens an ownership.
            rename_campaigns: have names in rows replace those that campaigns have.
            expire_by_policy: have rows without expiration end by the list's duration from now.
            dry_run: change nothing and return what would have been done; no conflict raises then,
                its row counts as skipped.
            reason: for the audit.
            request_id: makes a repeat safe (R20); None: one is made up.
            timeout_s: of the whole import.

        An error whose reason is IMPORT_CUT_SHORT says in message and metadata how far the import
        came. Where the server's answer is missing, the message says that the outcome is unknown.
        Either way the import may be sent again whole: rows already there are simply set again.
        """
        options = {
            "exact": exact,
            "rename_campaigns": rename_campaigns,
            "expire_by_policy": expire_by_policy,
            "dry_run": dry_run,
        }
        call = admin.import_ownership(list_id, rows, on_conflict, options, reason, request_id)
        await self._find_leader()
        try:
            return await self._run(call, timeout_s, whole=True)
        except AsyncTransport.REQUESTS_BROKE_OFF as error:
            raise call.request.row_error or error from None

    async def export_ownership(
        self,
        list_id: str,
        campaign_ids: str | Iterable[str] = (),
        *,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[OwnershipRow]:
        """Yield every owned record as a row for `import_ownership`, in the order of the keys.

        `timeout_s` is for the whole export, None = the admin deadline.
        """
        call = admin.export_ownership(list_id, campaign_ids)
        await self._find_leader()
        responses = self._transport.send(call, self._attempts(call, timeout_s, whole=True))
        try:
            async for response in responses:
                for row in call.read(response):
                    yield row
        except grpc.RpcError as error:
            raise to_client_error(call, error) from None
        finally:
            responses.cancel()

    async def count_shortened(
        self,
        list_id: str,
        *,
        enabled: bool | Unchanged = UNCHANGED,
        duration: timedelta | Unchanged | None = UNCHANGED,
        renewal_window: timedelta | Unchanged | None = UNCHANGED,
        reservation_ttl: timedelta | Unchanged | None = UNCHANGED,
        timeout_s: float | None = None,
    ) -> int:
        """Return how many ownerships would expire sooner if `set_policy` were called so (R12)."""
        lengths = {
            "duration": duration,
            "renewal_window": renewal_window,
            "reservation_ttl": reservation_ttl,
        }
        return await self._run(admin.count_shortened(list_id, enabled, lengths), timeout_s)

    def campaigns(self, *, timeout_s: float | None = None) -> AsyncGenerator[Campaign]:
        """Yield every campaign that the store knows in the order of the ids, fetched by pages."""
        return self._run_pages(admin.campaigns_page, timeout_s)

    def audit_entries(
        self,
        *,
        list_id: str = "",
        principal: str = "",
        action: str = "",
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        page_size: int = PAGE_SIZE,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[AuditEntry]:
        """Yield the recorded changes and refusals, newest first, fetched by pages (R21).

        Only those that fit all that is given: about a list, by a principal, of an rpc such as
        "ReleaseOwnership", from `start_time` on and before `end_time`, aware datetimes. Needs the
        right view on every list and campaign.
        """
        call = admin.audit_pages(list_id, principal, action, start_time, end_time, page_size)
        return self._run_pages(call, timeout_s)

    async def status(self, *, timeout_s: float | None = None) -> ServerStatus:
        """Return what runs there, and what is wrong."""
        return await self._run(admin.status(), timeout_s)

    async def caller_access(
        self, list_id: str = "", *, timeout_s: float | None = None
    ) -> CallerAccess:
        """Return who this client is to the server, and its rights on a list; empty = on every one.

        Needs no right, and leaves no trace in the audit.
        """
        return await self._run(admin.caller_access(list_id), timeout_s)

    async def watch(
        self,
        list_ids: str | Iterable[str] = (),
        *,
        from_revision: int | None = None,
        incarnation_id: str = "",
        include_reservations: bool = False,
    ) -> AsyncGenerator[Revision]:
        """Yield every change as it comes, revision by revision, without an end (R30).

        Of some lists, or of all. The changes after `from_revision`, None = from now on;
        `incarnation_id` is the one that came with that revision. By default only what changes who
        owns a record, or until when; `include_reservations` shows claims and reports too.

        It goes on by itself after a lost connection, a restart of the server, or when it was too
        slow, and yields no revision twice and leaves none out. A `Revision` without events comes at
        once and every few seconds: it says how far the stream is. Raises `ClientError` with the
        reason REVISION_NOT_KEPT or OTHER_INCARNATION where it cannot go on without a gap: begin
        anew with `export_ownership`; `Aborted` with RIGHTS_CHANGED when what you may see changed.
        """
        following = Following(
            list_ids, from_revision, incarnation_id, include_reservations=include_reservations
        )
        while True:
            call = following.call()
            attempts = self._attempts(call, CALL_S, whole=True)
            responses = self._transport.send(call, attempts)
            try:
                async for response in responses:
                    revision = call.read(response)
                    if revision is not None:
                        yield revision
            except grpc.RpcError as error:
                attempts.pause_after(error)
                if not following.goes_on(error):
                    raise to_client_error(call, error) from None
            finally:
                responses.cancel()
            await self._transport.pause(following.longer_pause())

    # Principals; each of these calls needs the right admin

    async def create_principal(
        self,
        principal_id: str,
        grants: Iterable[Grant] = (),
        *,
        hide_holders: bool = False,
        certificate_names: Iterable[str] = (),
        calls_per_s: int = 0,
        records_per_s: int = 0,
        no_token: bool = False,
        token_ttl: timedelta | None = None,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Issued:
        """Make somebody known who may make calls; the token is in the answer, this once.

        `no_token` makes none, for one that signs in with a client certificate, as one of its
        `certificate_names`, such as "DNS:dialer-a.example". A token is valid for `token_ttl`, None
        = until it is revoked. `hide_holders` keeps from the principal whose a record is. The rates
        are limits, 0 = none. Raises `AlreadyExists`; `FailedPrecondition` if a certificate name
        belongs to another principal.
        """
        settings = {
            "hide_holders": hide_holders,
            "certificate_names": certificate_names,
            "calls_per_s": calls_per_s,
            "records_per_s": records_per_s,
        }
        call = principals.create_principal(
            principal_id, grants, settings, no_token, token_ttl, reason, request_id
        )
        return await self._run(call, timeout_s)

    async def get_principal(
        self, principal_id: str, *, timeout_s: float | None = None
    ) -> Principal:
        """Return a principal with its rights; its tokens are named, not shown."""
        return await self._run(principals.get_principal(principal_id), timeout_s)

    def principals(self, *, timeout_s: float | None = None) -> AsyncGenerator[Principal]:
        """Yield every principal in the order of the ids, fetched by pages."""
        return self._run_pages(principals.principals_page, timeout_s)

    async def set_principal(
        self,
        principal_id: str,
        *,
        grants: Iterable[Grant] | Unchanged = UNCHANGED,
        hide_holders: bool | Unchanged = UNCHANGED,
        certificate_names: Iterable[str] | Unchanged = UNCHANGED,
        calls_per_s: int | Unchanged = UNCHANGED,
        records_per_s: int | Unchanged = UNCHANGED,
        etag: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Principal:
        """Change what is given of a principal, for every call that begins afterwards.

        `grants` are all that it has from then on. Its tokens stay valid. With the `etag` of an
        earlier read, raises `Aborted` if it has changed since; `FailedPrecondition` if nobody would
        be left with the right admin, or a certificate name belongs to another principal.
        """
        settings = {
            "grants": grants,
            "hide_holders": hide_holders,
            "certificate_names": certificate_names,
            "calls_per_s": calls_per_s,
            "records_per_s": records_per_s,
        }
        call = principals.set_principal(principal_id, settings, etag, reason, request_id)
        return await self._run(call, timeout_s)

    async def delete_principal(
        self,
        principal_id: str,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """End a principal with all its tokens at once, and return the revision of it."""
        call = principals.delete_principal(principal_id, reason, request_id)
        return await self._run(call, timeout_s)

    async def rotate_token(
        self,
        principal_id: str,
        *,
        token_ttl: timedelta | None = None,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Issued:
        """Make another token for a principal; it is in the answer, this once.

        The one before stays valid, so that clients can go over without an outage; of three the
        oldest ends.
        """
        call = principals.rotate_token(principal_id, token_ttl, reason, request_id)
        return await self._run(call, timeout_s)

    async def revoke_tokens(
        self,
        principal_id: str,
        token_ids: str | Iterable[str] = (),
        *,
        all_tokens: bool = False,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """End some tokens of a principal, or all, at once; return how many were valid.

        Exactly one of `token_ids` and `all_tokens`. Raises `FailedPrecondition` if nobody would be
        left who can sign in with the right admin.
        """
        call = principals.revoke_tokens(principal_id, token_ids, all_tokens, reason, request_id)
        return await self._run(call, timeout_s)

    async def check_access(
        self,
        principal_id: str,
        right: Right,
        *,
        list_id: str = "",
        campaign_id: str = "",
        timeout_s: float | None = None,
    ) -> Access:
        """Say whether a principal has a right on a list and a campaign; empty = on every one."""
        call = principals.check_access(principal_id, right, list_id, campaign_id)
        return await self._run(call, timeout_s)
