"""The asyncio client: the calls of `ownerd.client.sync.Client`, awaited.

One `AsyncClient` belongs to one event loop, where any number of tasks may share it. A cancelled
call may still take effect on the server; sending it again is safe (R20).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from ownerd.client.credentials import StrPath
from ownerd.client.errors import ClientError
from ownerd.client.requests import admin, dial, principals
from ownerd.client.requests.call import ADMIN, DIAL, Call, Chunks, Page, id_list
from ownerd.client.transport import (
    ADMIN_TIMEOUT_S,
    DEFAULT_TARGET,
    DIAL_TIMEOUT_S,
    Identity,
    Stubs,
    to_client_error,
)
from ownerd.client.values import (
    UNCHANGED,
    Access,
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
    Signal,
    Unchanged,
)

Result = TypeVar("Result")


class AsyncClient:
    """Talk to an ownerd server from an event loop.

    Arguments, deadlines and exceptions are those of `Client`, and so is every method; only
    `lists`, `owned_records` and `export_ownership` are not awaited but iterated (`async for`).
    The connection is made in the loop of the first call.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        admin_target: str | None = None,
        timeout_s: float = DIAL_TIMEOUT_S,
        admin_timeout_s: float = ADMIN_TIMEOUT_S,
        token: str | None = None,
        token_file: StrPath | None = None,
        tls: bool | None = None,
        ca_file: StrPath | None = None,
        cert_file: StrPath | None = None,
        key_file: StrPath | None = None,
        server_name: str | None = None,
    ) -> None:
        self._timeouts_s = {DIAL: timeout_s, ADMIN: admin_timeout_s}
        self._identity = Identity(token, token_file, tls, ca_file, cert_file, key_file, server_name)
        self._target = target
        self._admin_target = admin_target or target
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._stubs: Stubs | None = None

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
        for channel in self._channels.values():
            await channel.close()

    def _connect(self) -> Stubs:
        # Not in __init__: a grpc.aio channel binds itself to the loop that is running.
        for address in (self._target, self._admin_target):
            if address not in self._channels:
                self._channels[address] = self._identity.open(grpc.aio, address)
        return Stubs(self._channels[self._target], self._channels[self._admin_target])

    def _send(self, call: Call[Any], timeout_s: float | None) -> Any:
        if self._stubs is None:
            self._stubs = self._connect()
        if timeout_s is None:
            timeout_s = self._timeouts_s[call.service]
        metadata = self._identity.metadata()
        return self._stubs.method(call)(call.request, timeout=timeout_s, metadata=metadata)

    async def _run(self, call: Call[Result], timeout_s: float | None) -> Result:
        try:
            return call.read(await self._send(call, timeout_s))
        except grpc.RpcError as error:
            raise to_client_error(call, error) from None

    async def _run_chunks(self, chunks: Chunks[Any, Result], timeout_s: float | None) -> Result:
        return chunks.join([await self._run(call, timeout_s) for call in chunks.calls])

    async def _run_pages(
        self, page_call: Callable[[str], Call[Page[Result]]], timeout_s: float | None
    ) -> AsyncGenerator[Result, None]:
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
        self, list_id: str, record_id: str, campaign_id: str, *, timeout_s: float | None = None
    ) -> Claim:
        """See `Client.claim`."""
        return await self._run(dial.claim(list_id, record_id, campaign_id), timeout_s)

    async def claim_batch(
        self,
        list_id: str,
        record_ids: Iterable[str],
        campaign_id: str,
        *,
        timeout_s: float | None = None,
    ) -> ClaimBatch:
        """See `Client.claim_batch`."""
        return await self._run_chunks(dial.claim_batch(list_id, record_ids, campaign_id), timeout_s)

    async def report(
        self,
        list_id: str,
        record_id: str,
        campaign_id: str,
        wrap_up_code: str,
        *,
        timeout_s: float | None = None,
    ) -> Report:
        """See `Client.report`."""
        return await self._run(
            dial.report(list_id, record_id, campaign_id, wrap_up_code), timeout_s
        )

    async def report_batch(
        self,
        list_id: str,
        campaign_id: str,
        attempts: Iterable[tuple[str, str]],
        *,
        timeout_s: float | None = None,
    ) -> ReportBatch:
        """See `Client.report_batch`."""
        return await self._run_chunks(dial.report_batch(list_id, campaign_id, attempts), timeout_s)

    async def holder(
        self, list_id: str, record_id: str, *, timeout_s: float | None = None
    ) -> Holder | None:
        """See `Client.holder`."""
        return await self._run(dial.holder(list_id, record_id), timeout_s)

    # The control plane

    async def create_list(
        self,
        list_id: str,
        policy: Policy | None = None,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> ContactList:
        """See `Client.create_list`."""
        call = admin.create_list(list_id, policy or Policy(), reason, request_id)
        return await self._run(call, timeout_s)

    async def get_list(self, list_id: str, *, timeout_s: float | None = None) -> ContactList:
        """See `Client.get_list`."""
        return await self._run(admin.get_list(list_id), timeout_s)

    def lists(self, *, timeout_s: float | None = None) -> AsyncGenerator[ContactList, None]:
        """See `Client.lists`."""
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
        """See `Client.delete_list`."""
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
        """See `Client.set_policy`."""
        lengths = {
            "duration": duration,
            "renewal_window": renewal_window,
            "reservation_ttl": reservation_ttl,
        }
        call = admin.set_policy(list_id, enabled, lengths, etag, reason, request_id)
        return await self._run(call, timeout_s)

    async def owners(self, list_id: str, *, timeout_s: float | None = None) -> Owners:
        """See `Client.owners`."""
        return await self._run(admin.owners(list_id), timeout_s)

    def owned_records(
        self,
        list_id: str,
        campaign_ids: str | Iterable[str] = (),
        *,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[OwnedRecord, None]:
        """See `Client.owned_records`."""
        wanted = id_list(campaign_ids)
        return self._run_pages(
            lambda token: admin.owned_records_page(list_id, wanted, token), timeout_s
        )

    async def release(
        self,
        list_id: str,
        campaign_ids: str | Iterable[str] = (),
        *,
        all_campaigns: bool = False,
        include_reservations: bool = False,
        dry_run: bool = False,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Released:
        """See `Client.release`."""
        call = admin.release(
            list_id, campaign_ids, all_campaigns, include_reservations, dry_run, reason, request_id
        )
        return await self._run(call, timeout_s)

    async def release_records(
        self,
        list_id: str,
        record_ids: Iterable[str],
        *,
        reason: str = "",
        timeout_s: float | None = None,
    ) -> Released:
        """See `Client.release_records`."""
        return await self._run_chunks(admin.release_records(list_id, record_ids, reason), timeout_s)

    async def upsert_campaign(
        self,
        campaign_id: str,
        name: str,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """See `Client.upsert_campaign`."""
        call = admin.upsert_campaign(campaign_id, name, reason, request_id)
        return await self._run(call, timeout_s)

    async def signal_campaign(
        self,
        campaign_id: str,
        signal: Signal,
        *,
        list_id: str = "",
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """See `Client.signal_campaign`."""
        call = admin.signal_campaign(campaign_id, signal, list_id, reason, request_id)
        return await self._run(call, timeout_s)

    async def import_ownership(
        self,
        list_id: str,
        rows: Iterable[OwnershipRow],
        *,
        on_conflict: OnConflict = OnConflict.FAIL,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Imported:
        """See `Client.import_ownership`."""
        call = admin.import_ownership(list_id, rows, on_conflict, reason, request_id)
        try:
            return await self._run(call, timeout_s)
        except (ClientError, asyncio.CancelledError) as error:
            # grpc.aio answers an exception of the rows by cancelling the call.
            raise call.request.row_error or error from None

    async def export_ownership(
        self,
        list_id: str,
        campaign_ids: str | Iterable[str] = (),
        *,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[OwnershipRow, None]:
        """See `Client.export_ownership`."""
        call = admin.export_ownership(list_id, campaign_ids)
        responses = self._send(call, timeout_s)
        try:
            async for response in responses:
                for row in call.read(response):
                    yield row
        except grpc.RpcError as error:
            raise to_client_error(call, error) from None
        finally:
            responses.cancel()

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
        """See `Client.create_principal`."""
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
        """See `Client.get_principal`."""
        return await self._run(principals.get_principal(principal_id), timeout_s)

    def principals(self, *, timeout_s: float | None = None) -> AsyncGenerator[Principal, None]:
        """See `Client.principals`."""
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
        """See `Client.set_principal`."""
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
        """See `Client.delete_principal`."""
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
        """See `Client.rotate_token`."""
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
        """See `Client.revoke_tokens`."""
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
        """See `Client.check_access`."""
        call = principals.check_access(principal_id, right, list_id, campaign_id)
        return await self._run(call, timeout_s)
