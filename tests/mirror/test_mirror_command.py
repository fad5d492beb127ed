"""`ownerctl mirror`: what it says, how it ends, and how it takes the server's errors."""

import json
import sqlite3
from pathlib import Path

import grpc
import pytest
from fake_admin import FakeServer, fake_server
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from mirrored import LIST, Story, StorySource

from ownerd.ctl import cli
from ownerd.mirror.faults import Away, CompareAgain
from ownerd.mirror.source import Point
from ownerd.v1 import dial_pb2


class StoryServer(FakeServer):
    """Serves a story: its export, its feed and its holders."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self.story = story
        self.lists[LIST] = None
        self.reason = "REVISION_NOT_KEPT"

    def Watch(self, request, context):
        self._enter("Watch", request, context)
        if list(request.list_ids) != [LIST]:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no contact list {request.list_ids[0]!r}")
        source = StorySource(self.story)
        try:
            after = source.now()
            if request.HasField("from_revision"):
                after = Point(request.incarnation_id, request.from_revision, 0)
            feed = source.watch(after)
            context.add_callback(feed.cancel)
            if not request.HasField("from_revision"):
                yield feed._progress()
            yield from feed
        except CompareAgain as lost:
            self._refuse(context, str(lost))
        except Away as away:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(away))

    def _refuse(self, context, text):
        info = error_details_pb2.ErrorInfo(domain="ownerd", reason=self.reason)
        detail = Any()
        detail.Pack(info)
        code = grpc.StatusCode.OUT_OF_RANGE
        rich = status_pb2.Status(code=code.value[0], message=text, details=[detail])
        trailers = [("grpc-status-details-bin", rich.SerializeToString())]
        context.set_trailing_metadata(trailers)
        context.abort(code, text)

    def ExportOwnership(self, request, context):
        self._enter("ExportOwnership", request, context)
        yield from StorySource(self.story).export()

    def GetHolder(self, request, context):
        self._enter("GetHolder", request, context)
        return dial_pb2.GetHolderResponse(holder=self.story._holder(request.record_id))


@pytest.fixture
def story():
    return Story(records=10)


@pytest.fixture
def ctl(story, capsys, monkeypatch, tmp_path):
    """Run `ownerctl mirror` against a story's server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OWNERD_MIRROR_TO", "sqlite:///contacts.db")
    with fake_server(fake=StoryServer(story)) as server:
        monkeypatch.setenv("OWNERD_SERVER", server.address)

        def run(*arguments: str, list_id: str = LIST):
            code = cli.main(["mirror", list_id, *arguments])
            out, err = capsys.readouterr()
            return code, out, err

        run.server = server
        yield run


@pytest.fixture
def contacts(tmp_path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(tmp_path / "contacts.db", isolation_level=None)
    base.execute(
        "CREATE TABLE contacts (I3_IDENTITY INTEGER PRIMARY KEY, I3_campaignownerid VARCHAR(80),"
        " I3_campaignownername VARCHAR(80), I3_campaignownerexpiration DATETIME)"
    )
    base.executemany("INSERT INTO contacts (I3_IDENTITY) VALUES (?)", [(i,) for i in range(8)])
    yield base
    base.close()


def owners(contacts: sqlite3.Connection) -> dict[int, str]:
    return dict(
        contacts.execute(
            "SELECT I3_IDENTITY, I3_campaignownerid FROM contacts"
            " WHERE I3_campaignownerid IS NOT NULL"
        )
    )


def test_once_it_ends_in_step_and_says_what_it_did(ctl, story, contacts) -> None:
    for record_id in ("1", "2", "9"):
        story.attempt(record_id, "spring")
    code, out, err = ctl("--table", "CONTACTS", "--once")
    assert (code, owners(contacts)) == (0, {1: "spring", 2: "spring"})
    assert "in step, revision 4" in out.splitlines()[-1]
    assert "mended 2" in out and "1 record not in the table" in out
    assert "comparing: the table was never mirrored" in err
    story.attempt("3", "summer")
    story.release("spring")
    code, out, _ = ctl("--table", "contacts", "--key", "i3_identity", "--once", "-o", "json")
    assert (code, owners(contacts)) == (0, {3: "summer"})
    row = json.loads(out.splitlines()[-1])
    assert (row["state"], row["revision"], row["list_id"]) == ("in step", 6, LIST)
    assert (row["written_count"], row["record_count"], row["list_wide_count"]) == (3, 1, 1)
    assert row["lag"] is not None


@pytest.mark.parametrize("reason", ["REVISION_NOT_KEPT", "REVISION_AHEAD", "OTHER_INCARNATION"])
def test_a_position_that_the_server_does_not_know_is_compared_again(
    ctl, story, contacts, reason
) -> None:
    story.attempt("1", "spring")
    ctl("--table", "contacts", "--once")
    ctl.server.reason = reason
    story.attempt("2", "spring")
    story.oldest = story.revision
    code, _, err = ctl("--table", "contacts", "--once")
    assert (code, owners(contacts)) == (0, {1: "spring", 2: "spring"})
    assert "comparing again" in err


def test_what_is_wrong_is_said_and_has_its_exit_code(ctl, story, contacts, monkeypatch) -> None:
    for arguments, code, said in (
        (("--table", "nowhere"), 17, 'there is no table "nowhere"'),
        (("--table", "contacts", "--key", "phone"), 17, 'no column "phone"'),
        (("--table", "contacts", "--to", "nonsense"), 17, "no URL of SQLAlchemy"),
        (("--table", "contacts", "--to", "sqlite:////no/such/dir/x.db"), 17, "unable to open"),
        (("--table", "contacts", "--to", "firebird://x"), 17, "not installed"),
    ):
        found, _, err = ctl(*arguments, "--once")
        assert (found, len(err.splitlines())) == (code, 1) and said in err, err
    found, _, err = ctl("--table", "contacts", "--once", list_id="nobody")
    assert found == 3 and "nobody" in err
    story.is_down = True
    found, _, err = ctl("--table", "contacts")
    assert found == 8


def test_a_password_in_the_url_is_never_shown(ctl, contacts) -> None:
    for url in (
        "postgresql+psycopg://me:tellnobody@/contacts?host=/nowhere",
        "postgresql+nothing://me:tellnobody@db/contacts",
        "me:tellnobody@db/contacts",
    ):
        code, out, err = ctl("--table", "contacts", "--to", url)
        assert code == 17 and "tellnobody" not in out + err, err


def test_the_key_of_a_certificate_is_given_before_the_command(capsys, tmp_path) -> None:
    key = tmp_path / "none.pem"
    code = cli.main(["--key", str(key), "mirror", LIST, "--to", "sqlite://", "--table", "t"])
    assert code == 2 and "a certificate and its key" in capsys.readouterr().err


def test_without_sqlalchemy_it_says_what_to_install(ctl, monkeypatch) -> None:
    import sys

    for name in [each for each in sys.modules if each.startswith("ownerd.mirror.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    code, _, err = ctl("--table", "contacts", "--once")
    assert code == 15 and "ownerd[sql]" in err
