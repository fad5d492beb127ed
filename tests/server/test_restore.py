"""`ownerd restore` and `ownerd verify` of a backup: exit codes, and what a restored store tells."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from backups import TIME_S, head_of
from harness import ServerProcess
from sanitizer import in_front, patient_s, plain_environment

from ownerd.backupfile import writing
from ownerd.client.errors import error_info
from ownerd.engine.backup import Backup
from ownerd.engine.engine import Engine
from ownerd.server import exits, restore
from ownerd.server.config import Settings
from ownerd.v1 import admin_pb2, dial_pb2

OK, USAGE, IN_USE, UNUSABLE, DAMAGED = 0, 2, 3, 4, 6
Policy = admin_pb2.OwnershipPolicy
CHANGES: dict[str, Any] = {
    "CreateContactList": admin_pb2.CreateContactListRequest(
        list_id="main", policy=Policy(enabled=True, duration={"seconds": 86_400})
    ),
    "UpdateOwnershipPolicy": admin_pb2.UpdateOwnershipPolicyRequest(
        list_id="main", policy=Policy(enabled=True, duration={"seconds": 172_800})
    ),
    "UpsertCampaign": admin_pb2.UpsertCampaignRequest(campaign_id="a", name="Álpha"),
    "UpsertWrapUpCode": admin_pb2.UpsertWrapUpCodeRequest(
        code={"code": "Engaged", "category": "Busy", "counts_as_attempt": True}
    ),
    "DeleteWrapUpCode": admin_pb2.DeleteWrapUpCodeRequest(code="Fax"),
    "UpdateStoreSettings": admin_pb2.UpdateStoreSettingsRequest(
        settings={"unknown_wrap_up_code": admin_pb2.UNKNOWN_CODE_MEANING_ATTEMPT}
    ),
    "CreatePrincipal": admin_pb2.CreatePrincipalRequest(
        principal={
            "principal_id": "dialer",
            "grants": [{"right": admin_pb2.RIGHT_DIAL, "lists": ["main"]}],
            "certificate_names": ["DNS:dialer.example"],
        }
    ),
    "ReleaseRecords": admin_pb2.ReleaseRecordsRequest(list_id="main", record_ids=["1", "none"]),
    "TransferOwnership": admin_pb2.TransferOwnershipRequest(
        list_id="main", from_campaign_id="b", to_campaign_id="c"
    ),
    "ReleaseOwnership": admin_pb2.ReleaseOwnershipRequest(list_id="second", all_campaigns=True),
    "SignalCampaign": admin_pb2.SignalCampaignRequest(
        campaign_id="a", list_id="main", signal=admin_pb2.CAMPAIGN_SIGNAL_RESET
    ),
    "DeleteContactList": admin_pb2.DeleteContactListRequest(list_id="doomed", force=True),
}
RECORDS = [str(i) for i in range(40)]


class Restored(NamedTuple):
    """A store and its backup: what was told of it then, and what clients keep of it."""

    directory: Path
    backup: Path
    seen: dict[str, Any]
    kept: dict[str, Any]


def ownerd(*arguments: object, **options: Any) -> tuple[int, str]:
    """Run a command of ownerd; return its exit code and all that it printed."""
    run = subprocess.run(
        [sys.executable, "-m", "ownerd.server", *map(str, arguments)],
        capture_output=True,
        timeout=patient_s(60),
        **{"stdin": subprocess.DEVNULL, **options},
    )
    return run.returncode, (run.stdout + run.stderr).decode()


def restore_into(store: Path, backup: Path, **settings: str) -> tuple[int, str]:
    """Restore in this process; return what the program's exit code and message would be."""
    try:
        lines = restore.restore(Settings(data=str(store), map_bytes=1 << 30, **settings), backup)
    except exits.Stop as stop:
        return stop.exit_code, str(stop)
    return OK, "\n".join(lines)


def check(backup: Path) -> tuple[int, str]:
    """Look at a backup in this process."""
    try:
        return restore.check(backup), ""
    except exits.Stop as stop:
        return stop.exit_code, str(stop)


def live(server: ServerProcess) -> None:
    """Leave something in every table."""
    admin, dial = server.admin_stub(), server.dial_stub()
    enabled = Policy(enabled=True, no_expiration=True)
    for list_id in ("second", "doomed"):
        admin.CreateContactList(admin_pb2.CreateContactListRequest(list_id=list_id, policy=enabled))
    send(server, "CreateContactList", "UpdateOwnershipPolicy", "UpsertCampaign")
    admin.CreateContactList(
        admin_pb2.CreateContactListRequest(list_id="shared", shares_ownership_with="main")
    )
    send(server, "UpsertWrapUpCode", "DeleteWrapUpCode", "UpdateStoreSettings", "CreatePrincipal")
    for list_id in ("main", "second", "doomed"):
        for at, campaign_id in enumerate(("a", "b", "c")):
            attempts = [
                {"record_id": record, "wrap_up_code": "Engaged"} for record in RECORDS[at:30:3]
            ]
            dial.ReportAttemptBatch(
                dial_pb2.ReportAttemptBatchRequest(
                    list_id=list_id, campaign_id=campaign_id, attempts=attempts
                )
            )
    for node, records in (("node 1", RECORDS[30:34]), ("node 2", RECORDS[34:38])):
        dial.ClaimBatch(
            dial_pb2.ClaimBatchRequest(
                list_id="shared", campaign_id="a", dialer_id=node, record_ids=records
            )
        )
    dial.GiveBack(dial_pb2.GiveBackRequest(campaign_id="a", dialer_id="node 1"))
    send(server, *list(CHANGES)[-5:])


def send(server: ServerProcess, *methods: str) -> None:
    """Make changes, each with its own request id."""
    for method in methods:
        request = type(CHANGES[method])()
        request.CopyFrom(CHANGES[method])
        request.request_id = f"id of {method}"
        getattr(server.admin_stub(), method)(request)


def look(server: ServerProcess) -> dict[str, Any]:
    """Return all that a store tells, but for etags."""
    admin, dial = server.admin_stub(), server.dial_stub()
    lists = admin.ListContactLists(admin_pb2.ListContactListsRequest()).lists
    principals = admin.ListPrincipals(admin_pb2.ListPrincipalsRequest()).principals
    for each in (*lists, *principals):
        each.etag = ""
    found = {
        "lists": list(lists),
        "principals": list(principals),
        "campaigns": list(admin.ListCampaigns(admin_pb2.ListCampaignsRequest()).campaigns),
        "codes": list(admin.ListWrapUpCodes(admin_pb2.ListWrapUpCodesRequest()).codes),
        "settings": admin.GetStoreSettings(admin_pb2.GetStoreSettingsRequest()).settings,
        "audit": [
            entry
            for entry in admin.ListAuditEntries(
                admin_pb2.ListAuditEntriesRequest(page_size=1_000)
            ).entries
            if entry.action != "BackupStore"
        ],
    }
    for list_id in ("main", "shared", "second"):
        owners = admin.ListOwners(admin_pb2.ListOwnersRequest(list_id=list_id))
        found[f"owners of {list_id}"] = [
            (each.campaign_id, each.owned_count, each.reserved_count) for each in owners.owners
        ]
        export = admin.ExportOwnership(admin_pb2.ExportOwnershipRequest(list_id=list_id))
        found[f"records of {list_id}"] = [row for message in export for row in message.rows]
        found[f"holders in {list_id}"] = [
            dial.GetHolder(dial_pb2.GetHolderRequest(list_id=list_id, record_id=record)).holder
            for record in RECORDS
        ]
    return found


def keep(server: ServerProcess) -> dict[str, Any]:
    """Return what clients keep for later calls."""
    admin = server.admin_stub()
    pages = {
        "ListContactLists": admin_pb2.ListContactListsRequest(page_size=1),
        "ListOwnedRecords": admin_pb2.ListOwnedRecordsRequest(list_id="main", page_size=2),
        "ListCampaigns": admin_pb2.ListCampaignsRequest(page_size=1),
        "ListWrapUpCodes": admin_pb2.ListWrapUpCodesRequest(page_size=1),
        "ListPrincipals": admin_pb2.ListPrincipalsRequest(page_size=1),
        "ListAuditEntries": admin_pb2.ListAuditEntriesRequest(page_size=1),
    }
    for method, request in pages.items():
        request.page_token = getattr(admin, method)(request).next_page_token
    shown = admin.GetContactList(admin_pb2.GetContactListRequest(list_id="main"))
    principal = admin.GetPrincipal(admin_pb2.GetPrincipalRequest(principal_id="dialer"))
    pages = {method: request for method, request in pages.items() if request.page_token}
    return {"pages": pages, "etag": shown.list.etag, "principal": principal.principal}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Restored:
    """A backup of a server with something in every table, and what it told as of then."""
    directory = tmp_path_factory.mktemp("made")
    with ServerProcess(directory / "data") as server:
        live(server)
        seen, kept = look(server), keep(server)
        stream = server.admin_stub().BackupStore(admin_pb2.BackupStoreRequest())
        data = b"".join(answer.data for answer in stream)
    (directory / "backup").write_bytes(data)
    return Restored(directory, directory / "backup", seen, kept)


@pytest.fixture(scope="module")
def restored(made: Restored) -> Iterator[ServerProcess]:
    """A server on the store that was made of the backup."""
    code, said = ownerd("restore", made.backup, "--data", made.directory / "restored")
    assert code == OK, said
    assert "begins a new incarnation" in said and "at revision 17592186044416" in said
    with ServerProcess(made.directory / "restored") as server:
        yield server


def test_a_restored_store_tells_what_the_former_one_did(
    made: Restored, restored: ServerProcess
) -> None:
    found = look(restored)
    assert found.keys() == made.seen.keys()
    for what, seen in made.seen.items():
        assert found[what] == seen, what
    assert any(holder.dialer_id == "node 2" for holder in found["holders in main"])
    assert not any(holder.dialer_id == "node 1" for holder in found["holders in main"])
    assert "new_incarnation" not in restored.log_text
    entries = restored.admin_stub().ListAuditEntries(admin_pb2.ListAuditEntriesRequest()).entries
    assert entries[0].action == "BackupStore"


def refusal(call: Any, request: Any) -> tuple[str, str]:
    """Return code and reason that a call is refused with."""
    with pytest.raises(grpc.RpcError) as error:
        call(request)
    info = error_info(error.value)
    assert info is not None
    return error.value.code().name, info.reason


def test_page_tokens_of_the_former_incarnation_are_refused_by_name(
    made: Restored, restored: ServerProcess
) -> None:
    assert len(made.kept["pages"]) >= 5
    for method, request in made.kept["pages"].items():
        code = refusal(getattr(restored.admin_stub(), method), request)
        assert code == ("FAILED_PRECONDITION", "OTHER_INCARNATION"), method


def test_etags_of_the_former_incarnation_are_refused_by_name(
    made: Restored, restored: ServerProcess
) -> None:
    admin = restored.admin_stub()
    request = admin_pb2.UpdateOwnershipPolicyRequest(
        list_id="main", policy=Policy(enabled=False), etag=made.kept["etag"]
    )
    assert refusal(admin.UpdateOwnershipPolicy, request) == ("ABORTED", "STALE_ETAG")
    change = admin_pb2.UpdatePrincipalRequest(principal=made.kept["principal"])
    change.etag = made.kept["principal"].etag
    assert refusal(admin.UpdatePrincipal, change) == ("ABORTED", "STALE_PRINCIPAL")


@pytest.mark.parametrize("method", CHANGES)
def test_r20_request_ids_of_the_former_incarnation_are_refused_by_name(
    restored: ServerProcess, method: str
) -> None:
    request = type(CHANGES[method])()
    request.CopyFrom(CHANGES[method])
    request.request_id = f"id of {method}"
    before = restored.admin_stub().GetServerStatus(admin_pb2.GetServerStatusRequest()).revision
    found = refusal(getattr(restored.admin_stub(), method), request)
    assert found == ("FAILED_PRECONDITION", "OTHER_INCARNATION")
    after = restored.admin_stub().GetServerStatus(admin_pb2.GetServerStatusRequest()).revision
    assert after == before


def test_r20_request_ids_of_its_own_are_answered_again_as_ever(restored: ServerProcess) -> None:
    request = admin_pb2.UpsertCampaignRequest(campaign_id="new", request_id="anew")
    admin = restored.admin_stub()
    assert admin.UpsertCampaign(request) == admin.UpsertCampaign(request)


# ---- the programs


def test_verify_shows_what_is_in_a_backup(made: Restored) -> None:
    code, said = ownerd("verify", made.backup)
    assert code == OK and "records/data.mdb" in said and ": sound." in said
    with made.backup.open("rb") as file:
        assert ownerd("verify", "-", stdin=file) == (OK, said)


def test_a_damaged_backup_is_refused_and_nothing_is_left(made: Restored, tmp_path: Path) -> None:
    data = made.backup.read_bytes()
    store = tmp_path / "store"
    middle = len(data) // 2
    bad = {
        "cut": data[:middle],
        "changed": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "text": b"a text, not a backup\n" * 100,
    }
    for what, content in bad.items():
        (tmp_path / what).write_bytes(content)
        for code, said in (check(tmp_path / what), restore_into(store, tmp_path / what)):
            assert code == DAMAGED and str(tmp_path / what) in said, said
        assert set(os.listdir(store)) == {"LOCK"}


def test_a_newer_backup_is_refused_by_name(made: Restored, tmp_path: Path) -> None:
    data = made.backup.read_bytes()
    backup = tmp_path / "newer"
    for now, later, named in (
        (b'"format": 1', b'"format": 2', "backup format 2"),
        (b'"store_format": 5', b'"store_format": 6', "store in it has format 6"),
    ):
        assert now in data
        backup.write_bytes(data.replace(now, later))
        for code, said in (check(backup), restore_into(tmp_path / "store", backup)):
            assert (code, named in said) == (UNUSABLE, True), said


def files_of(store: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.name != "LOCK"
    }


def test_a_store_is_never_overwritten(made: Restored, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert ownerd("init", "--data", store)[0] == OK
    before = files_of(store)
    code, said = ownerd("restore", made.backup, "--data", store)
    assert (code, "never overwrites" in said) == (UNUSABLE, True), said
    assert files_of(store) == before
    with ServerProcess(store):
        assert restore_into(store, made.backup)[0] == IN_USE


def test_restore_refuses_another_store_than_the_configured_one(
    made: Restored, tmp_path: Path
) -> None:
    code, said = restore_into(tmp_path / "store", made.backup, store_id="0123456789abcdef")
    assert (code, "store_id says" in said) == (UNUSABLE, True), said
    store_id = json.loads(made.backup.read_bytes()[512:].partition(b"\0")[0])["store_id"]
    assert restore_into(tmp_path / "store", made.backup, store_id=store_id)[0] == OK


def test_a_backup_whose_log_and_records_do_not_belong_together_is_refused(
    made: Restored, tmp_path: Path
) -> None:
    """Also where all of its checksums were made anew."""
    later = tmp_path / "later"
    assert restore_into(later, made.backup)[0] == OK
    with Engine(str(later), map_bytes=1 << 30, background=False) as engine:
        engine.upsert_campaign("later", "")
        mixed = Mixed(engine.backup())
        whole = b"".join(writing.pieces(head_of(mixed.backup), mixed.backup, TIME_S, 1 << 20))
        engine.upsert_campaign("latest", "")
        engine.vacuum()
        mixed.take_tree(engine.backup())
        data = b"".join(writing.pieces(head_of(mixed.backup), mixed, TIME_S, 1 << 20))
    for name, content, code in (("whole", whole, OK), ("mixed", data, DAMAGED)):
        (tmp_path / name).write_bytes(content)
        assert check(tmp_path / name)[0] == OK
        found, said = restore_into(tmp_path / f"of {name}", tmp_path / name)
        assert found == code, said
    assert set(os.listdir(tmp_path / "of mixed")) == {"LOCK"}


class Mixed:
    """The log of one backup, and the records of another."""

    def __init__(self, backup: Backup) -> None:
        self.backup = self.other = backup
        self.files = backup.files

    def take_tree(self, other: Backup) -> None:
        """Have the records of another backup."""
        self.other = other
        self.files = (*self.backup.files[:-1], other.files[-1])

    def read(self, index: int, offset: int, size: int, /) -> bytes:
        if index < len(self.backup.files) - 1:
            return self.backup.read(index, offset, size)
        return self.other.read(len(self.other.files) - 1, offset, size)


def test_restore_reads_stdin_but_no_terminal(made: Restored, tmp_path: Path) -> None:
    with made.backup.open("rb") as file:
        code, said = ownerd("restore", "-", "--data", tmp_path / "store", stdin=file)
    assert code == OK, said
    main, terminal = pty.openpty()
    try:
        code, said = ownerd("restore", "-", "--data", tmp_path / "other", stdin=terminal)
        assert (code, "terminal" in said) == (USAGE, True), said
    finally:
        os.close(main)
        os.close(terminal)
    assert not (tmp_path / "other").exists()


def test_a_disk_that_gets_full_leaves_no_store(made: Restored, tmp_path: Path) -> None:
    limited = in_front("bash", "-c", 'ulimit -f 200; exec "$@"', "bash")
    restore = ("-m", "ownerd.server", "restore", made.backup, "--data", tmp_path / "store")
    run = subprocess.run(
        [*limited, sys.executable, *map(str, restore)],
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=patient_s(60),
    )
    assert (run.returncode, "nothing was restored" in run.stderr) == (UNUSABLE, True), run.stderr
    assert set(os.listdir(tmp_path / "store")) == {"LOCK"}
    assert restore_into(tmp_path / "store", made.backup)[0] == OK


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, said = restore_into(tmp_path / "store", tmp_path / "none")
    assert code == 1 and f"cannot read {tmp_path}/none" in said
    assert not (tmp_path / "store").exists()


def test_a_restore_that_was_killed_is_told_of_and_run_again(made: Restored, tmp_path: Path) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "ownerd.server", "restore", "-", "--data", tmp_path / "store"],
        stdin=read,
        stderr=subprocess.DEVNULL,
    )
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        pipe.write(made.backup.read_bytes()[:40_000])  # more than half waits in the pipe
        pipe.flush()
        while not (tmp_path / "store" / "RESTORING" / "log").exists():
            assert process.poll() is None
        process.kill()
        process.wait()
    code, said = ownerd("serve", "--data", tmp_path / "store")
    assert (code, "run 'ownerd restore' again" in said) == (UNUSABLE, True), said
    code, said = ownerd("verify", tmp_path / "store")
    assert (code, "run 'ownerd restore' again" in said) == (UNUSABLE, True), said
    assert restore_into(tmp_path / "store", made.backup)[0] == OK
    assert set(os.listdir(tmp_path / "store")) == {"LOCK", "SESSION", "log", "records"}
