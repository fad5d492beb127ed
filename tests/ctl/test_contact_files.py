"""The corpus of contact files: each is read as it should be, or refused with line and reason."""

import io

import pytest
from contact_files import File, corpus

from ownerd.contactfile.check import Check
from ownerd.contactfile.faults import FileFault
from ownerd.contactfile.reader import Owned, Reader
from ownerd.ctl.terminal import times

CORPUS = corpus()


def outcome(file: File) -> dict[str, str] | tuple[int | None, str]:
    """Return what is read of a file: owners by record, or the line and the reason."""
    reader = Reader(io.BytesIO(file.data), file.reading)
    with Check(reader, now_ns=times.now_ns()) as check:
        try:
            rows = list(check.rows())
            check.finish()
        except FileFault as fault:
            return fault.line, fault.message
    return {row.record_id: _owner(row) for row in rows}


def _owner(row: Owned) -> str:
    name = f"/{row.campaign_name}" if row.campaign_name else ""
    until = "" if row.expire_ns is None else f" until {times.rfc3339(row.expire_ns)}"
    return f"{row.campaign_id}{name}{until}"


def test_the_corpus_has_200_files() -> None:
    assert len(CORPUS) >= 200


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_a_file_of_the_corpus_has_its_right_outcome(file: File) -> None:
    found = outcome(file)
    if isinstance(file.right, dict):
        assert found == file.right
    else:
        line, reason = file.right
        assert isinstance(found, tuple), found
        assert found[0] == line and reason in found[1]
