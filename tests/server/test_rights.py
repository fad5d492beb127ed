"""The table of rights, whole: every rpc has a row, the protos say the same, every cell is tried.

The cells: five kinds of principal, with a right on some lists and campaigns or on every one, times
every rpc, times a list in and out of the pattern, times a campaign in and out; DialService on both
listeners. What is expected follows from the table; that the table is right is read in its own test.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from guarded_server import Caller, GuardedServer, grants, status
from harness import listeners

from ownerd.access.table import RIGHTS
from ownerd.server import rights
from ownerd.server.rights import ADMIN_RULES, DIAL_RULES, Rule, Scope
from ownerd.v1 import admin_pb2, dial_pb2

PROTOS = Path(__file__).resolve().parents[2] / "protos" / "ownerd" / "v1"
IN, OUT = "in-1", "out-1"
PATTERN = "in-*"
PORTS = ["native", "grpcio", "admin"]
KINDS = [*RIGHTS]


def rows() -> dict[str, Rule]:
    return {**DIAL_RULES, **ADMIN_RULES}


def spell(scope: str | Scope) -> str:
    return scope if isinstance(scope, str) else scope.value


def test_every_rpc_has_a_row_and_every_row_an_rpc(capsys: pytest.CaptureFixture[str]) -> None:
    for method, rule in rows().items():
        names = " or ".join(map(rights.name_of, rule.rights))
        print(
            f"{method:22} {names:18} lists: {spell(rule.lists):42} campaigns: "
            f"{spell(rule.campaigns)}"
        )
    assert len(capsys.readouterr().out.splitlines()) == len(rows())
    for module, table in ((dial_pb2, DIAL_RULES), (admin_pb2, ADMIN_RULES)):
        (service,) = module.DESCRIPTOR.services_by_name.values()
        assert {method.name for method in service.methods} == set(table)


def test_the_protos_name_the_right_of_each_row() -> None:
    text = (PROTOS / "admin.proto").read_text()
    service = text[text.index("service AdminService") : text.index("message OwnershipPolicy")]
    needs = dict(
        zip(
            re.findall(r"^  rpc (\w+)", service, re.M),
            re.findall(r"^  // Needs (\w+)", service, re.M),
            strict=True,
        )
    )
    named = {
        method: rights.name_of(rule.rights[0]) if rule.rights else "nothing"
        for method, rule in ADMIN_RULES.items()
    }
    assert needs == named
    own = {method for method, rule in ADMIN_RULES.items() if rule.own}
    assert own == {"RotateToken", "CheckAccess"}


def test_the_rows_that_decide_most_are_as_the_protos_say() -> None:
    named = {method: set(map(rights.name_of, rule.rights)) for method, rule in rows().items()}
    for method in ("Claim", "ClaimBatch", "ReportAttempt", "ReportAttemptBatch", "GiveBack"):
        assert named[method] == {"dial"}
        assert DIAL_RULES[method][1:3] == ("list_id", "campaign_id")
    for method in ("ListOwners", "ReleaseOwnership", "ReleaseRecords", "TransferOwnership"):
        assert named[method] == {"ownership_control"}
    for method in (
        "UpdateOwnershipPolicy",
        "CreateContactList",
        "DeleteContactList",
        "UpsertCampaign",
        "DeleteCampaign",
        "SignalCampaign",
        "UpsertWrapUpCode",
        "GetStoreSettings",
        "UpdateStoreSettings",
        "DeleteWrapUpCode",
        "ImportOwnership",
    ):
        assert named[method] == {"configure"}
    assert named["ListAuditEntries"] == {"view"}
    assert ADMIN_RULES["ListAuditEntries"][1:3] == (Scope.EVERY, Scope.EVERY)
    assert {method for method in ADMIN_RULES if named[method] == {"admin"}} == {
        "CreatePrincipal",
        "GetPrincipal",
        "ListPrincipals",
        "UpdatePrincipal",
        "DeletePrincipal",
        "RotateToken",
        "RevokeTokens",
        "CheckAccess",
        "BackupStore",
        "TransferLeadership",
        "RemoveNode",
        "GetDebugInfo",
        "SetLogLevel",
    }


# ---- a request of every rpc

Build = Callable[[str, str], Any]


def claim(list_id: str, campaign_id: str) -> Any:
    return dial_pb2.ClaimRequest(list_id=list_id, record_id="1", campaign_id=campaign_id)


REQUESTS: dict[str, Build] = {
    "Claim": claim,
    "ClaimBatch": lambda lst, campaign: dial_pb2.ClaimBatchRequest(
        list_id=lst, campaign_id=campaign, record_ids=["1"]
    ),
    "ReportAttempt": lambda lst, campaign: dial_pb2.ReportAttemptRequest(
        list_id=lst, record_id="1", campaign_id=campaign, wrap_up_code="No Lines"
    ),
    "ReportAttemptBatch": lambda lst, campaign: dial_pb2.ReportAttemptBatchRequest(
        list_id=lst,
        campaign_id=campaign,
        attempts=[dial_pb2.ReportAttemptBatchRequest.Attempt(record_id="1", wrap_up_code="SIT")],
    ),
    "GetHolder": lambda lst, _: dial_pb2.GetHolderRequest(list_id=lst, record_id="1"),
    "GiveBack": lambda lst, campaign: dial_pb2.GiveBackRequest(
        list_id=lst, campaign_id=campaign, dialer_id="node"
    ),
    "CreateContactList": lambda lst, _: admin_pb2.CreateContactListRequest(list_id=lst),
    "GetContactList": lambda lst, _: admin_pb2.GetContactListRequest(list_id=lst),
    "ListContactLists": lambda *_: admin_pb2.ListContactListsRequest(),
    # A list that is not there: the others still need theirs.
    "DeleteContactList": lambda lst, _: admin_pb2.DeleteContactListRequest(list_id=f"{lst}-gone"),
    "UpdateOwnershipPolicy": lambda lst, _: admin_pb2.UpdateOwnershipPolicyRequest(
        list_id=lst, policy=admin_pb2.OwnershipPolicy(enabled=True)
    ),
    "ListOwners": lambda lst, _: admin_pb2.ListOwnersRequest(list_id=lst),
    "ReleaseOwnership": lambda lst, campaign: admin_pb2.ReleaseOwnershipRequest(
        list_id=lst, campaign_ids=[campaign], dry_run=True
    ),
    "ReleaseRecords": lambda lst, campaign: admin_pb2.ReleaseRecordsRequest(
        list_id=lst, record_ids=["9"], only_if_campaign_id=campaign
    ),
    "TransferOwnership": lambda lst, campaign: admin_pb2.TransferOwnershipRequest(
        list_id=lst, from_campaign_id=campaign, to_campaign_id=f"{campaign}-again", dry_run=True
    ),
    "ListOwnedRecords": lambda lst, campaign: admin_pb2.ListOwnedRecordsRequest(
        list_id=lst, campaign_ids=[campaign]
    ),
    "ImportOwnership": lambda lst, campaign: iter(
        [
            admin_pb2.ImportOwnershipRequest(
                list_id=lst,
                rows=[admin_pb2.OwnershipRow(record_id="8", campaign_id=campaign)],
                conflict_strategy=admin_pb2.CONFLICT_STRATEGY_SKIP,
            )
        ]
    ),
    "ExportOwnership": lambda lst, campaign: admin_pb2.ExportOwnershipRequest(
        list_id=lst, campaign_ids=[campaign]
    ),
    "UpsertCampaign": lambda _, campaign: admin_pb2.UpsertCampaignRequest(campaign_id=campaign),
    "ListCampaigns": lambda *_: admin_pb2.ListCampaignsRequest(),
    # One that is not there, as of lists.
    "DeleteCampaign": lambda _, campaign: admin_pb2.DeleteCampaignRequest(
        campaign_id=f"{campaign}-gone"
    ),
    "SignalCampaign": lambda lst, campaign: admin_pb2.SignalCampaignRequest(
        campaign_id=campaign, list_id=lst, signal=admin_pb2.CAMPAIGN_SIGNAL_RESET
    ),
    "UpsertWrapUpCode": lambda *_: admin_pb2.UpsertWrapUpCodeRequest(
        code=admin_pb2.WrapUpCode(code="Busy")
    ),
    "ListWrapUpCodes": lambda *_: admin_pb2.ListWrapUpCodesRequest(),
    "DeleteWrapUpCode": lambda *_: admin_pb2.DeleteWrapUpCodeRequest(code="none such"),
    "ListUnknownWrapUpCodes": lambda *_: admin_pb2.ListUnknownWrapUpCodesRequest(),
    "GetStoreSettings": lambda *_: admin_pb2.GetStoreSettingsRequest(),
    "UpdateStoreSettings": lambda *_: admin_pb2.UpdateStoreSettingsRequest(
        settings=admin_pb2.StoreSettings()
    ),
    "CreatePrincipal": lambda *_: admin_pb2.CreatePrincipalRequest(
        principal=admin_pb2.Principal(principal_id="dummy")
    ),
    "GetPrincipal": lambda *_: admin_pb2.GetPrincipalRequest(principal_id="dummy"),
    "ListPrincipals": lambda *_: admin_pb2.ListPrincipalsRequest(),
    "UpdatePrincipal": lambda *_: admin_pb2.UpdatePrincipalRequest(
        principal=admin_pb2.Principal(principal_id="dummy")
    ),
    "DeletePrincipal": lambda *_: admin_pb2.DeletePrincipalRequest(principal_id="none such"),
    "RotateToken": lambda *_: admin_pb2.RotateTokenRequest(principal_id="dummy"),
    "RevokeTokens": lambda *_: admin_pb2.RevokeTokensRequest(principal_id="dummy", all_tokens=True),
    "CheckAccess": lambda *_: admin_pb2.CheckAccessRequest(
        principal_id="dummy", right=admin_pb2.RIGHT_VIEW
    ),
    "ListAuditEntries": lambda *_: admin_pb2.ListAuditEntriesRequest(),
    "GetServerStatus": lambda *_: admin_pb2.GetServerStatusRequest(),
    "BackupStore": lambda *_: admin_pb2.BackupStoreRequest(),
    "GetClusterStatus": lambda *_: admin_pb2.GetClusterStatusRequest(),
    "TransferLeadership": lambda *_: admin_pb2.TransferLeadershipRequest(),
    "RemoveNode": lambda *_: admin_pb2.RemoveNodeRequest(node="b"),
    # A position that is none, so that it ends.
    "Watch": lambda *_: admin_pb2.WatchRequest(from_revision=1 << 60),
    "WhoAmI": lambda lst, _: admin_pb2.WhoAmIRequest(list_id=lst),
    "Diagnose": lambda *_: admin_pb2.DiagnoseRequest(),
    "GetDebugInfo": lambda *_: admin_pb2.GetDebugInfoRequest(),
    "SetLogLevel": lambda *_: admin_pb2.SetLogLevelRequest(),
}


# ---- who asks


class Who(NamedTuple):
    """A kind of principal: its one right, on every list and campaign or on some."""

    right: str
    limited: bool


def covers(scope: str | Scope, found: str, limited: bool) -> bool:
    """Return whether a right on some (or every) list or campaign is enough."""
    if not limited or scope in (Scope.NONE, Scope.SEEN):
        return True
    return scope is not Scope.EVERY and found == IN


def is_allowed(method: str, who: Who, list_id: str, campaign_id: str) -> bool:
    """Return what the table says."""
    rule = rows()[method]
    limited = who.limited and who.right != "admin"
    return not rule.rights or (
        RIGHTS[who.right] in rule.rights
        and covers(rule.lists, list_id, limited)
        and covers(rule.campaigns, campaign_id, limited)
    )


@pytest.fixture(scope="module", params=["native", "grpcio"])
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GuardedServer, dict[Who, Caller]]]:
    """A server with each dial listener, with one principal of each kind."""
    if request.param == "native":
        pytest.importorskip("ownerd.net.listener", reason="built without libnghttp2")
    directory = tmp_path_factory.mktemp("rights") / "data"
    with GuardedServer(directory, *listeners(request.param)) as server:
        callers = {}
        for right in KINDS:
            for limited in (False, True):
                some = ([PATTERN], [PATTERN]) if limited and right != "admin" else ()
                name = f"{right}-{limited}"
                callers[Who(right, limited)] = server.principal(name, *grants([right], *some))
        for name in (IN, OUT):
            server.open_list(name)
            server.root.admin("UpsertCampaign", admin_pb2.UpsertCampaignRequest(campaign_id=name))
        server.principal("dummy")
        yield server, callers


@pytest.mark.parametrize("method", [*DIAL_RULES, *ADMIN_RULES])
def test_every_cell_of_the_table(
    asked: tuple[GuardedServer, dict[Who, Caller]], method: str
) -> None:
    _, callers = asked
    build = REQUESTS[method]
    tried = 0
    for who, caller in callers.items():
        send = caller.dial if method in DIAL_RULES else caller.admin
        for list_id in (IN, OUT):
            for campaign_id in (IN, OUT):
                request = build(list_id, campaign_id)
                code, message = status(send, method, request)
                expected = is_allowed(method, who, list_id, campaign_id)
                assert (code != "PERMISSION_DENIED") is expected, (who, list_id, campaign_id, code)
                assert code not in ("UNAUTHENTICATED", "INTERNAL", "UNKNOWN", "INVALID_ARGUMENT")
                if not expected:
                    assert rights.name_of(rows()[method].rights[0]) in message
                tried += 1
    assert tried == len(KINDS) * 2 * 4


def test_dial_calls_on_the_admin_port_need_the_same(
    asked: tuple[GuardedServer, dict[Who, Caller]],
) -> None:
    server, callers = asked
    for who, caller in callers.items():
        at_admin = server.caller(caller.token, on_admin_port=True)
        for campaign_id in (IN, OUT):
            code, _ = status(at_admin.dial, "Claim", claim(IN, campaign_id))
            expected = is_allowed("Claim", who, IN, campaign_id)
            assert (code != "PERMISSION_DENIED") is expected, (who, campaign_id)


def test_health_and_reflection_need_nothing(asked: tuple[GuardedServer, dict[Who, Caller]]) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    server, _ = asked
    for address in (server.admin_address, server.dial_address):
        health = health_pb2_grpc.HealthStub(server.shared_channel(address))
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(
        server.shared_channel(server.admin_address)
    )
    asked_for = reflection_pb2.ServerReflectionRequest(list_services="")
    (found,) = reflection.ServerReflectionInfo(iter([asked_for]), timeout=10)
    names = {service.name for service in found.list_services_response.service}
    assert "ownerd.v1.AdminService" in names


STATUS = admin_pb2.GetServerStatusRequest()

# ---- what is left out, and what one right on one list is not enough for


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    """A server with records of two campaigns in two lists."""
    with GuardedServer(tmp_path_factory.mktemp("owned") / "data") as server:
        for list_id in (IN, OUT):
            server.open_list(list_id)
            for number, campaign_id in enumerate((IN, OUT)):
                server.root.dial(
                    "ReportAttempt",
                    dial_pb2.ReportAttemptRequest(
                        list_id=list_id,
                        record_id=str(number),
                        campaign_id=campaign_id,
                        wrap_up_code="Busy",
                    ),
                )
        yield server


def test_lists_and_campaigns_are_shown_as_far_as_they_may_be_viewed(owned: GuardedServer) -> None:
    caller = owned.principal("seer", *grants(["view"], [PATTERN], [PATTERN]))
    lists = caller.admin("ListContactLists", admin_pb2.ListContactListsRequest(page_size=1))
    assert [each.list_id for each in lists.lists] == [IN] and not lists.next_page_token
    campaigns = caller.admin("ListCampaigns", admin_pb2.ListCampaignsRequest(page_size=1))
    assert [each.campaign_id for each in campaigns.campaigns] == [IN]
    assert not campaigns.next_page_token
    every = owned.root.admin("ListContactLists", admin_pb2.ListContactListsRequest())
    assert [each.list_id for each in every.lists] == [IN, OUT]


def test_owners_are_shown_as_far_as_they_may_be_controlled_also_in_the_totals(
    owned: GuardedServer,
) -> None:
    caller = owned.principal("controller", *grants(["ownership_control"], [], [PATTERN]))
    found = caller.admin("ListOwners", admin_pb2.ListOwnersRequest(list_id=IN))
    assert [each.campaign_id for each in found.owners] == [IN] and found.total_owned_count == 1
    every = owned.root.admin("ListOwners", admin_pb2.ListOwnersRequest(list_id=IN))
    assert every.total_owned_count == 2


def test_records_are_shown_and_exported_as_far_as_they_may_be_viewed(owned: GuardedServer) -> None:
    caller = owned.principal("reader", *grants(["view"], [IN], [PATTERN]))
    page = caller.admin("ListOwnedRecords", admin_pb2.ListOwnedRecordsRequest(list_id=IN))
    assert [each.campaign_id for each in page.records] == [IN]
    parts = caller.admin("ExportOwnership", admin_pb2.ExportOwnershipRequest(list_id=IN))
    assert [row.campaign_id for part in parts for row in part.rows] == [IN]
    nobody = owned.principal("blind", *grants(["view"], [IN], ["none-*"]))
    page = nobody.admin("ListOwnedRecords", admin_pb2.ListOwnedRecordsRequest(list_id=IN))
    assert not page.records


def test_a_release_of_all_needs_control_of_every_campaign(owned: GuardedServer) -> None:
    some = owned.principal("some", *grants(["ownership_control"], [IN], [PATTERN]))
    every = owned.principal("every", *grants(["ownership_control"], [IN]))
    request = admin_pb2.ReleaseOwnershipRequest(list_id=IN, all_campaigns=True, dry_run=True)
    code, message = status(some.admin, "ReleaseOwnership", request)
    assert code == "PERMISSION_DENIED" and "every campaign" in message
    assert every.admin("ReleaseOwnership", request).released_count == 2


def test_a_signal_to_every_list_needs_the_right_on_every_list(owned: GuardedServer) -> None:
    some = owned.principal("signaler", *grants(["configure"], [IN], [IN]))
    request = admin_pb2.SignalCampaignRequest(
        campaign_id=IN, signal=admin_pb2.CAMPAIGN_SIGNAL_STOPPED
    )
    assert status(some.admin, "SignalCampaign", request)[0] == "PERMISSION_DENIED"


def test_a_viewer_of_some_campaigns_is_not_told_whose_a_hold_is(owned: GuardedServer) -> None:
    request = dial_pb2.GetHolderRequest(list_id=IN, record_id="1")
    some = owned.principal("glimpse", *grants(["view"], [IN], [IN]))
    holder = some.dial("GetHolder", request).holder
    assert holder.kind == dial_pb2.HOLD_KIND_OWNED and not holder.campaign_id
    every = owned.principal("seeing", *grants(["view"], [IN]))
    assert every.dial("GetHolder", request).holder.campaign_id == OUT
    dialer = owned.principal("dialing", *grants(["dial"], [IN], [IN]))
    assert dialer.dial("GetHolder", request).holder.campaign_id == OUT


def test_hidden_holders_are_shown_where_they_are_ones_own(owned: GuardedServer) -> None:
    """R22: whoever may dial for a campaign sees which of its dialers has the record."""
    name = "hidden-dialer"
    request = admin_pb2.CreatePrincipalRequest(
        principal=admin_pb2.Principal(
            principal_id=name, hide_holders=True, grants=grants(["dial"], [IN], [IN])
        )
    )
    made = owned.root.admin("CreatePrincipal", request)
    caller = owned.caller(made.token)
    for record_id, campaign_id in (("own", IN), ("other", OUT)):
        wanted = dial_pb2.ClaimRequest(
            list_id=IN, record_id=record_id, campaign_id=campaign_id, dialer_id="line 1"
        )
        assert owned.root.dial("Claim", wanted).decision == dial_pb2.CLAIM_DECISION_GRANTED
    shown = {}
    for record_id in ("own", "other"):
        again = dial_pb2.ClaimRequest(
            list_id=IN, record_id=record_id, campaign_id=IN, dialer_id="line 2"
        )
        looked = dial_pb2.GetHolderRequest(list_id=IN, record_id=record_id)
        shown[record_id] = [caller.dial("Claim", again).holder]
        shown[record_id].append(caller.dial("GetHolder", looked).holder)
    for holder in shown["own"]:
        assert (holder.campaign_id, holder.dialer_id) == (IN, "line 1")
        assert holder.HasField("reserved_until")
    for holder in shown["other"]:
        assert (holder.campaign_id, holder.dialer_id) == ("", "")
        assert holder.HasField("expire_time") and not holder.HasField("reserved_until")


def test_r23_without_a_list_a_dialer_gives_back_where_it_may_dial(owned: GuardedServer) -> None:
    caller = owned.principal("giver", *grants(["dial"], [PATTERN], [IN]))
    for list_id in (IN, OUT):
        wanted = dial_pb2.ClaimRequest(
            list_id=list_id, record_id="ahead", campaign_id=IN, dialer_id="node"
        )
        owned.root.dial("Claim", wanted)
    back = dial_pb2.GiveBackRequest(campaign_id=IN, dialer_id="node")
    stranger = owned.principal("stranger", *grants(["dial"], [PATTERN], [OUT]))
    code, message = status(stranger.dial, "GiveBack", back)
    assert code == "PERMISSION_DENIED" and "any list" in message
    caller.dial("GiveBack", back)
    held = {
        list_id: owned.root.dial(
            "GetHolder", dial_pb2.GetHolderRequest(list_id=list_id, record_id="ahead")
        ).HasField("holder")
        for list_id in (IN, OUT)
    }
    assert held == {IN: False, OUT: True}


def test_r27_a_transfer_needs_control_of_both_campaigns(owned: GuardedServer) -> None:
    some = owned.principal("mover", *grants(["ownership_control"], [IN], [PATTERN]))
    for giver, receiver in ((IN, OUT), (OUT, IN)):
        request = admin_pb2.TransferOwnershipRequest(
            list_id=IN, from_campaign_id=giver, to_campaign_id=receiver, dry_run=True
        )
        assert status(some.admin, "TransferOwnership", request)[0] == "PERMISSION_DENIED"
    request = admin_pb2.TransferOwnershipRequest(
        all_lists=True, from_campaign_id=IN, to_campaign_id=f"{IN}-again", dry_run=True
    )
    code, message = status(some.admin, "TransferOwnership", request)
    assert code == "PERMISSION_DENIED" and "every list" in message


def overwriting(strategy: int) -> Any:
    row = admin_pb2.OwnershipRow(record_id="1", campaign_id=IN)
    return iter(
        [admin_pb2.ImportOwnershipRequest(list_id=IN, rows=[row], conflict_strategy=strategy)]
    )


def test_an_import_that_may_end_any_hold_needs_the_right_on_every_campaign(
    owned: GuardedServer,
) -> None:
    some = owned.principal("overwriter", *grants(["configure"], [IN], [IN]))
    request = overwriting(admin_pb2.CONFLICT_STRATEGY_OVERWRITE)
    code, message = status(some.admin, "ImportOwnership", request)
    assert code == "PERMISSION_DENIED" and "every campaign" in message
    holder = dial_pb2.GetHolderRequest(list_id=IN, record_id="1")
    assert owned.root.dial("GetHolder", holder).holder.campaign_id == OUT


def test_a_conflict_names_the_holder_to_whoever_may_see_it(owned: GuardedServer) -> None:
    for name, right, seen in (("c-1", [], False), ("c-2", ["view"], True)):
        caller = owned.principal(name, *grants(["configure", *right], [IN]))
        request = overwriting(admin_pb2.CONFLICT_STRATEGY_FAIL)
        code, message = status(caller.admin, "ImportOwnership", request)
        assert code == "FAILED_PRECONDITION"
        assert (OUT in message) is seen


def test_r20_a_request_id_is_its_callers_own(owned: GuardedServer) -> None:
    """Another caller is neither kept from using it nor told that it is in use."""
    first = owned.principal("first", *grants(["configure"]))
    second = owned.principal("second", *grants(["configure"]))
    same = admin_pb2.UpsertCampaignRequest(campaign_id=IN, request_id="shared-request")
    answer = first.admin("UpsertCampaign", same)
    assert second.admin("UpsertCampaign", same).revision > answer.revision
    assert first.admin("UpsertCampaign", same) == answer
    other = admin_pb2.UpsertCampaignRequest(campaign_id=OUT, request_id="shared-request")
    for caller in (first, second):
        code, message = status(caller.admin, "UpsertCampaign", other)
        assert code == "INVALID_ARGUMENT" and "request_id" in message
    release = admin_pb2.ReleaseOwnershipRequest(
        list_id=OUT, campaign_ids=[OUT], request_id="shared-request"
    )
    released = owned.root.admin("ReleaseOwnership", release)
    assert owned.root.admin("ReleaseOwnership", release) == released


def test_r20_no_choice_of_principal_and_id_comes_to_another_ones(owned: GuardedServer) -> None:
    short = owned.principal("a", *grants(["configure"]))
    long = owned.principal("a1", *grants(["configure"]))
    for caller, request_id in ((short, "11"), (long, "1")):
        request = admin_pb2.UpsertCampaignRequest(campaign_id=IN, request_id=request_id)
        before = owned.root.admin("GetServerStatus", STATUS).revision
        assert caller.admin("UpsertCampaign", request).revision > before


def test_r20_an_import_under_another_callers_id_is_another_import(owned: GuardedServer) -> None:
    rows = [admin_pb2.OwnershipRow(record_id=each, campaign_id=IN) for each in ("one", "two")]
    for number, name in enumerate(("importer-1", "importer-2")):
        caller = owned.principal(name, *grants(["configure"]))
        message = admin_pb2.ImportOwnershipRequest(
            list_id=IN, rows=rows[: number + 1], request_id="shared-import"
        )
        answer = caller.admin("ImportOwnership", iter([message]))
        assert answer.imported_count == number + 1
        assert caller.admin("ImportOwnership", iter([message])) == answer


def test_an_import_with_one_row_of_another_campaign_changes_nothing(owned: GuardedServer) -> None:
    some = owned.principal("importer", *grants(["configure"], [IN], [IN]))
    rows = [
        admin_pb2.OwnershipRow(record_id=f"new-{number}", campaign_id=campaign_id)
        for number, campaign_id in enumerate([IN, IN, OUT])
    ]
    message = admin_pb2.ImportOwnershipRequest(list_id=IN, rows=rows)
    code, text = status(some.admin, "ImportOwnership", iter([message]))
    assert code == "PERMISSION_DENIED" and OUT in text
    page = owned.root.admin("ListOwnedRecords", admin_pb2.ListOwnedRecordsRequest(list_id=IN))
    assert not [each for each in page.records if each.record_id.startswith("new-")]


def test_somebody_is_told_who_they_are_and_what_they_may_do(owned: GuardedServer) -> None:
    caller = owned.principal(
        "asker", *grants(["view"]), *grants(["ownership_control"], [PATTERN], [PATTERN])
    )

    def told(list_id: str) -> tuple[str, list[int], list[int]]:
        request = admin_pb2.WhoAmIRequest(list_id=list_id)
        found = caller.admin("WhoAmI", request)
        return found.principal.principal_id, list(found.rights), list(found.partial_rights)

    view, control = admin_pb2.RIGHT_VIEW, admin_pb2.RIGHT_OWNERSHIP_CONTROL
    assert told(IN) == ("asker", [view], [control])
    assert told(OUT) == ("asker", [view], [])
    assert told("") == ("asker", [view], [control])
    root = owned.root.admin("WhoAmI", admin_pb2.WhoAmIRequest())
    assert len(root.rights) == len(RIGHTS) and not root.partial_rights
    assert (
        status(owned.caller(None).admin, "WhoAmI", admin_pb2.WhoAmIRequest())[0]
        == "UNAUTHENTICATED"
    )


def test_r28_a_right_on_one_of_the_lists_that_share_is_no_whole_right(owned: GuardedServer) -> None:
    owned.root.admin(
        "CreateContactList",
        admin_pb2.CreateContactListRequest(list_id="elsewhere", shares_ownership_with=IN),
    )
    caller = owned.principal("sharer", *grants(["ownership_control"], [PATTERN]))
    found = caller.admin("WhoAmI", admin_pb2.WhoAmIRequest(list_id=IN))
    assert not found.rights
    assert list(found.partial_rights) == [admin_pb2.RIGHT_OWNERSHIP_CONTROL]
