"""A corpus of small contact files, each with its right outcome: what is read, or line and reason.

Made here rather than kept as files: encodings x delimiters x line ends, then times, damage, shapes.
"""

import gzip
from collections.abc import Iterator
from datetime import UTC
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ownerd.contactfile.header import Columns
from ownerd.contactfile.source import BLOCK_BYTES
from ownerd.contactfile.values import Reading

TITLES = ("i3_identity", "i3_campaignownerid", "i3_campaignownername", "i3_campaignownerexpiration")
HEAD = ",".join(TITLES) + "\n"
NOTES = "notes," + HEAD
LITERAL = HEAD.strip() + ",ownerd_acquired\n"
BERLIN = Reading(zone=ZoneInfo("Europe/Berlin"))
NEW_YORK = Reading(zone=ZoneInfo("America/New_York"))
PLAIN = Reading()
TRIM = Reading(trim=True)
ANY = Reading(any_ids=True)
VENDOR = Columns()

Rows = dict[str, str]


class File(NamedTuple):
    """A file, how it is read, and what is right: owners by record, or the line and the reason."""

    name: str
    data: bytes
    right: Rows | tuple[int | None, str]
    reading: Reading = PLAIN


def corpus() -> list[File]:
    """Return all files of the corpus."""
    found = [*_written(), *_times(), *_nothing(), *_ids(), *_shapes(), *_bytes(), *_headers()]
    assert len({file.name for file in found}) == len(found)
    return found


def _written() -> Iterator[File]:
    """The same table in every encoding, with every delimiter, with every end of a line."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"):
        for delimiter in (",", ";", "\t", "|"):
            for end_name, end in (("lf", "\n"), ("crlf", "\r\n"), ("cr", "\r")):
                lines = [TITLES, ("7", "spring", "Frühling", ""), ("8", "fall", '"a b"', "NULL")]
                text = end.join(delimiter.join(line) for line in lines)
                yield File(
                    f"{encoding} {delimiter!r} {end_name}",
                    (text + end).encode(encoding),
                    {"7": "spring/Frühling", "8": "fall/a b"},
                )
                if encoding in ("utf-8", "utf-16"):
                    told = f"sep={delimiter}{end}{text}".encode(encoding)
                    yield File(
                        f"{encoding} sep={delimiter!r} {end_name}",
                        told,
                        {"7": "spring/Frühling", "8": "fall/a b"},
                    )


def _times() -> Iterator[File]:
    def file(written: str, right: str, reading: Reading = PLAIN) -> File:
        outcome: Rows | tuple[int, str] = (
            {"1": "A"} if right == "never" else {"1": f"A until {right}"}
        )
        if right.startswith("!"):
            outcome = (2, right[1:])
        zone = getattr(reading.zone, "key", reading.zone)
        name = f"time {written} in {zone}"
        return File(name, f"{HEAD}1,A,,{written}\n".encode(), outcome, reading)

    for written in (
        "2030-01-31T18:00:00Z",
        "2030-01-31t18:00:00z",
        "2030-01-31 18:00:00Z",
        "2030-01-31 18:00Z",
        "2030-01-31 18:00:00+00",
        "2030-01-31 20:00:00+02",
        "2030-01-31 20:00:00+0200",
        "2030-01-31 20:00:00+02:00",
        "2030-01-31 23:30:00+05:30",
        "2030-01-31 18:53:28+00:53:28",
        "2030-01-31 18:00:00 UTC",
        "2030-01-31 18:00:00 GMT",
        "2030-01-31 18:00:00 utc",
        "2030-01-31 18:00:00.0000000 +00:00",
        '"2030-01-31 18:00:00,000Z"',
        "  2030-01-31 18:00:00Z ",
    ):
        yield file(written, "2030-01-31T18:00:00Z")
    yield file("2030-01-31 18:00:00.123+00", "2030-01-31T18:00:00.123Z")
    yield file("2030-01-31T18:00:00.123456789Z", "2030-01-31T18:00:00.123456789Z")
    yield file("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z")
    for written in (
        "9999-12-31T23:59:59Z",
        "9999-12-31 23:59:59.9999999",
        "9999-12-31",
        "9999-01-01T00:00:00+14:00",
        "infinity",
        "NULL",
        "null",
        "\\N",
        "  ",
    ):
        yield file(written, "never")
    naive = "2030-06-01 12:00:00"
    yield file(naive, "!has no time zone")
    yield file(naive, "2030-06-01T12:00:00Z", Reading(zone=UTC))
    yield file(naive, "2030-06-01T16:00:00Z", NEW_YORK)
    yield file("2030-06-01T12:00:00Z", "2030-06-01T12:00:00Z", NEW_YORK)
    # A clock that is set back shows 02:30 twice, and one that is put forward never.
    yield file("2026-10-25 02:30:00", "2026-10-25T01:30:00Z", BERLIN)
    yield file("2026-03-29 02:30:00", "2026-03-29T01:30:00Z", BERLIN)
    yield file("2030-11-03 01:30:00", "2030-11-03T06:30:00Z", NEW_YORK)
    for written, reason in (
        ("2030-01-31", "is a day without a time of day"),
        ("31.01.2030 18:00", "is not a time"),
        ("01/31/2030 6:00 PM", "is not a time"),
        ("tomorrow", "is not a time"),
        ("47514.75", "is not a time"),
        ("2030-01-31T18:00:00 EST", "is not a time"),
        ("2030-02-30T18:00:00Z", "is no such time in the calendar"),
        ("2030-01-31T24:00:00Z", "is no such time in the calendar"),
        ("2030-01-31T18:00:00+25:00", "is no such time in the calendar"),
        ("0000-00-00 00:00:00Z", "is no such time in the calendar"),
        ("2300-01-01T00:00:00Z", "is after 2261"),
        ("-infinity", "is not a time"),
        ("\uff12030-01-31T18:00:00Z", "is not a time"),
    ):
        yield file(written, f"!{reason}")


def _nothing() -> Iterator[File]:
    for written in ("", "NULL", "null", "\\N", '""', "  ", '"NULL"', "(null)", "[NULL]", "<NULL>"):
        yield File(f"nobody is {written!r}", f"{HEAD}1,{written},,\n2,A,,\n".encode(), {"2": "A"})
        yield File(f"no name is {written!r}", f"{HEAD}1,A,{written},\n".encode(), {"1": "A"})
    for written in ("None", "nan", "#N/A", "NA", "<NA>", "NaT", "-"):
        yield File(
            f"perhaps nobody is {written}",
            f"{HEAD}1,{written},,\n".encode(),
            (2, "is how some programs write nothing"),
        )
    yield File("nobody, whatever else", f"{HEAD},,x,never\n1,A,,\n".encode(), {"1": "A"})
    for written in ("nan", "N/A"):
        yield File(
            f"perhaps no record is {written}",
            f"{HEAD}{written},A,,\n".encode(),
            (2, "is how some programs write nothing"),
        )
    for written in ("", "NULL", "  ", "\\N"):
        yield File(
            f"no record is {written!r}",
            f"{HEAD}{written},A,,\n".encode(),
            (2, '"i3_identity" is empty'),
        )


def _ids() -> Iterator[File]:
    for written in ("42  ", " 42", "42\t", "42\u00a0", "\u300042", "\ufeff42", "42\u200b"):
        data = f'{HEAD}"{written}",A,,\n'.encode()
        yield File(f"blanks {written!r}", data, (2, "around it, which makes it another record id"))
        yield File(f"blanks trimmed {written!r}", data, {"42": "A"}, TRIM)
    yield File("blanks of a campaign", f"{HEAD}1,A ,,\n".encode(), (2, "blanks around it"))
    yield File("blanks of a name", f"{HEAD}1,A, x ,\n".encode(), {"1": "A/x"})
    yield File("blanks within", f"{HEAD}a b,A C,,\n".encode(), {"a b": "A C"})
    for character in "\x00\x07\n\xad\u061c\u202e\u2066\ufffd":
        data = f'{HEAD}"4{character}2",A,,\n'.encode()
        yield File(f"no character {character!r}", data, (2, f"U+{ord(character):04X}"))
    for written in (
        "9.91214E+15",
        '"9,91214E+15"',
        "1E+10",
        "1.5e+10",
        "42.0",
        "42.00",
        '"42,0"',
        "42.",
        '="00042"',
        '"=""00042"""',
        "=A1",
        "'00042",
        '"1,234,567"',
        "#REF!",
        "####",
        "2-Mar",
        "02. Mrz",
        "Mar-02",
    ):
        yield File(f"damaged {written}", f"{HEAD}{written},A,,\n".encode(), (2, "spreadsheet"))
    for written in ("'A'", "\u201cA\u201d", "`A`"):
        yield File(f"quotes {written}", f"{HEAD}1,{written},,\n".encode(), (2, "none in CSV"))
    for written in ("\uff14\uff12", "\u0664\u0662", "4\uff12"):
        yield File(
            f"digits {written}",
            f"{HEAD}{written},A,,\n".encode(),
            (2, 'another record id than "42"'),
        )
    yield File("digits of a name", f"{HEAD}1,春\uff12,,\n".encode(), {"1": "春\uff12"})
    yield File("damaged campaign", f"{HEAD}1,7.0,,\n".encode(), (2, "spreadsheet"))
    for written in (
        "1.5",
        "5E10",
        "a=b",
        "1e5",
        "10.0.0.1",
        "+12025550143",
        "(202) 555-0143",
        "-7",
        "#7",
    ):
        yield File(f"not damaged {written}", f"{HEAD}{written},A,,\n".encode(), {written: "A"})
    undo = Reading(undo=lambda cell: cell.removeprefix("'"))
    yield File("undone", f"{HEAD}'-7,'A,,\n".encode(), {"-7": "A"}, undo)
    yield File("any ids", f"{HEAD}42.0,1E+5,,\n".encode(), {"42.0": "1E+5"}, ANY)
    yield File(
        "zeros lost", f"{HEAD}00042,A,,\n00043,A,,\n44,A,,\n".encode(), (4, "takes away zeros")
    )
    yield File(
        "zeros lost, before others", f"{HEAD}44,A,,\n00043,,,\n".encode(), (2, "takes away zeros")
    )
    yield File(
        "zeros kept",
        f"{HEAD}00042,A,,\n12345,A,,\n0,A,,\n".encode(),
        {"00042": "A", "12345": "A", "0": "A"},
    )
    yield File(
        "zeros of any ids", f"{HEAD}00042,A,,\n44,A,,\n".encode(), {"00042": "A", "44": "A"}, ANY
    )
    rounded = "1234567890123000", "1234567890124000"
    yield File(
        "rounded",
        f"{HEAD}{rounded[0]},A,,\n{rounded[1]},A,,\n".encode(),
        (2, "rounded by a spreadsheet"),
    )
    yield File(
        "not all rounded",
        f"{HEAD}{rounded[0]},A,,\n1234567890124001,,,\n".encode(),
        {rounded[0]: "A"},
    )
    yield File("long id", f"{HEAD}{'é' * 65},A,,\n".encode(), (2, "has 130 bytes"))
    yield File("long campaign", f"{HEAD}1,{'c' * 81},,\n".encode(), (2, "has 81 bytes"))
    yield File("long name", f"{HEAD}1,A,{'n' * 257},\n".encode(), (2, "has 257 bytes"))
    yield File(
        "two owners",
        f"{HEAD}1,A,,\n2,A,,\n1,B,,\n".encode(),
        (4, 'has two owners: "A" in line 2, "B" in line 4'),
    )
    yield File("one owner twice", f"{HEAD}1,A,,\n1,A,,\n".encode(), {"1": "A"})
    yield File(
        "two owners, one expired",
        f"{HEAD}1,A,,\n1,B,,2001-01-01T00:00:00Z\n".encode(),
        {"1": "B until 2001-01-01T00:00:00Z"},
    )
    yield File("two owners, one nobody", f"{HEAD}1,A,,\n1,,,\n".encode(), {"1": "A"})


def _shapes() -> Iterator[File]:
    def file(name: str, text: str, right: Rows | tuple[int, str]) -> File:
        return File(name, text.encode(), right)

    yield file("short row", HEAD + "1,A\n", (2, "2 cells, but the header has 4"))
    yield file("long row", HEAD + "1,A,,,\n", (2, "5 cells, but the header has 4"))
    yield file("short row without owner", HEAD + "1,A,,\n2,\n", (3, "2 cells"))
    yield file("no end of line", HEAD + "1,A,,", {"1": "A"})
    yield file("blank lines", "\n\n" + HEAD + "\n1,A,,\n  \n,,,\n\n2,A,,\n\n", {"1": "A", "2": "A"})
    yield file("line after blank lines", "\n" + HEAD + "\n\n,A,,\n", (5, "is empty"))
    for footer in (
        "(1 rows affected)",
        "(1 row affected)",
        "(1 row)",
        "(1 Zeile betroffen)",
        "1 row selected.",
        "  1 record(s) selected.",
        "no rows selected",
        "\\.",
        "(1 rows affected)\n\nCompletion time: 2026-01-01T00:00:00.0000000+01:00",
    ):
        yield file(f"footer {footer[:20]}", f"{HEAD}1,A,,\n\n{footer}\n", {"1": "A"})
    yield file("footer within", HEAD + "1,A,,\n(1 row)\n2,A,,\n", (3, "1 cell,"))
    yield file("no footer", HEAD + "1,A,,\nThe end\n", (3, "1 cell,"))
    yield file("dashes", HEAD + "---,--,-,----\n1,A,,\n", {"1": "A"})
    page = HEAD + "---,--,-,----\n"
    yield file("header on every page", f"{page}1,A,,\n{page}2,A,,\n", {"1": "A", "2": "A"})
    yield file("joined files", f"{HEAD}1,A,,\n\ufeff{HEAD}2,A,,\n", {"1": "A", "2": "A"})
    yield file("joined exports", f"{LITERAL}1,A,,,\n{LITERAL}2,NULL,,,\n", {"1": "A", "2": "NULL"})
    yield file("dashes later", HEAD + "1,A,,\n-,-,-,-\n", (3, '"-" is how some programs'))
    yield file("Ctrl-Z on a line", HEAD + "1,A,,\n\x1a", {"1": "A"})
    yield file("Ctrl-Z on a line with an end", HEAD + "1,A,,\n\x1a\r\n", {"1": "A"})
    yield file("Ctrl-Z in a row", HEAD + "1,A,x,\x1a", {"1": "A/x"})
    yield file("Ctrl-Z many", HEAD + "1,A,,\n" + "\x1a" * 100, {"1": "A"})
    yield file("Ctrl-Z within", HEAD + "1,A,,\n\x1a\n2,A,,\n", (3, "Ctrl-Z ends a file"))
    yield file("quotes", NOTES + '"a ""b"", c","1","A","x, y",""\n', {"1": "A/x, y"})
    yield file("quoted lines", NOTES + '"a\nb\r\nc",1,A,,\n,2,A,,\n', {"1": "A", "2": "A"})
    yield file("line after quoted lines", NOTES + '"a\nb\rc",1,A,,\n,,A,,\n', (5, "is empty"))
    yield file("quoted blank line", NOTES + '"a\n\nb",1,A,,\n', {"1": "A"})
    yield file("stray quotes", NOTES + '"6" pipe",7,A,,\n6" pipe,8,A,,\n', {"7": "A", "8": "A"})
    yield file("stray quotes and a comma", NOTES + '"6" pipe, long",7,A,,\n', {"7": "A"})
    yield file(
        "stray quotes in two", NOTES + '"6" x",7,A,"5" y",\n', (2, "are not as CSV has them")
    )
    yield file("stray quotes in an id", HEAD + '"6" x",A,,\n', (2, "are not as CSV has them"))
    yield file("a quote in an id", HEAD + '6",A,,\n', (2, "are not as CSV has them"))
    yield file("doubled quotes in an id", HEAD + '"6""",A,,\n', {'6"': "A"})
    yield file("blank before a quote", HEAD + '1, "A",,\n', (2, "are not as CSV has them"))
    yield file("blank after a quote", HEAD + '"1" ,A,,\n', (2, "are not as CSV has them"))
    yield file("unclosed", HEAD + '1,"A,,\n2,A,,\n3,A,,\n', (2, "is not closed"))
    yield file("unclosed, then quotes", HEAD + '1,"A,,\n2,"A",,\n', (2, "is not closed"))
    yield file("unclosed at the end", HEAD + '1,A,,\n2,A,"', (3, "is not closed"))
    swallows = "looks like a row itself"
    last = HEAD.strip() + ",notes\n"
    yield file("swallowed", last + '1,A,,,"x\n2,B,,,y"\n', (2, swallows))
    yield file("swallowed many", last + '1,A,,,"x\n2,B,,,\n3,B,,,y"\n', (2, swallows))
    yield file("swallowed first", NOTES + '"x,1,A,,\ny",2,B,,\n', (2, swallows))
    yield file("not swallowed", last + '1,A,,,"x\n2, 3\ny, z, a, b, c"\n', {"1": "A"})
    yield file("big cell", NOTES + f"{'x' * 200_000},1,,,\nhi,2,A,,\n", {"2": "A"})
    yield file("big quoted cell", NOTES + f'"{"x, " * 100_000}",1,A,,\n', {"1": "A"})
    yield file("blocks", HEAD + f"1,A,{'n' * 200},\r\n" * 3_000, {"1": "A/" + "n" * 200})
    lines = f'"{"x, " * 50_000}\n{"y, " * 50_000}",1,A,,\n'
    yield file("big cell of lines", NOTES + lines, {"1": "A"})
    until_cr = f"{HEAD}1,A,,\n,,,"  # the CR of its last line is the last byte of a block
    filled = until_cr + " " * (BLOCK_BYTES - len(until_cr) - 1)
    yield file("CRLF over blocks", filled + "\r\n,A,,\n", (4, "is empty"))
    yield file(
        "literal", LITERAL + '" 42 ",NULL,nan,,\n1.0,"A\n",,,\n', {" 42 ": "NULL/nan", "1.0": "A\n"}
    )
    for name, saved in (("CRLF", "\r\n"), ("CR", "\r")):
        text = f"{LITERAL}1E+15,A,,,\n".replace("\n", saved)
        yield file(f"export saved by a spreadsheet, {name}", text, (2, "spreadsheet"))
    text = f"{LITERAL}1E+15,A,,,\n".replace(",", ";")
    yield file("export saved by a spreadsheet, ;", text, (2, "spreadsheet"))
    text = f"{LITERAL.upper()}1,A,,,NULL\n2,NULL,,,\n"
    yield file("export in a table with capitals", text, {"1": "A"})
    text = f"{LITERAL}1,A,,,NULL\n2,NULL,,,\n".replace("\n", "\r\n")
    yield file("export saved by a database", text, {"1": "A"})
    yield file("literal zeros", LITERAL + "007,A,,,\n8,A,,,\n", {"007": "A", "8": "A"})
    yield file("literal Ctrl-Z", LITERAL.replace("\n", ",x\n") + "1,A,,,,\x1a", {"1": "A"})
    yield file("literal blank time", LITERAL + "1,A,, ,\n", (2, "is not a time"))
    yield file("literal footer", LITERAL + "1,A,,,\n(1 row)\n", (3, "1 cell,"))


def _bytes() -> Iterator[File]:
    plain = f"{HEAD}1,A,Frühling,\n"
    right = {"1": "A/Frühling"}
    yield File("gzip", gzip.compress(plain.encode()), right)
    yield File("gzip of UTF-16", gzip.compress(plain.encode("utf-16")), right)
    yield File(
        "gzip in parts", gzip.compress(HEAD.encode()) + gzip.compress(b"1,A,,\n"), {"1": "A"}
    )
    yield File("gzip cut off", gzip.compress(plain.encode())[:-9], (None, "ends early"))
    damaged = bytearray(gzip.compress(plain.encode()))
    damaged[-6] ^= 255
    yield File("gzip damaged", bytes(damaged), (None, "is damaged"))
    yield File("workbook", b"PK\x03\x04\x14\x00", (None, "an Excel workbook or a zip file"))
    yield File("old workbook", b"\xd0\xcf\x11\xe0\xa1\xb1", (None, "an old Excel workbook"))
    yield File("gzip, then none", gzip.compress(HEAD.encode()) + b"1,A", (None, "is damaged"))
    for name, data, what in (
        ("json", b'{"records": []}\n', "JSON"),
        ("json of lines", b'{"i3_identity": "1"}\n', "JSON"),
        ("json array", b"[\n {}]", "JSON"),
        ("html", b"<html>\n", "HTML or XML"),
        ("xml", b"<?xml version='1.0'?>\n", "HTML or XML"),
    ):
        yield File(name, data, (1, f"it is {what}; a contact file is CSV"))
    yield File("parquet", b"PAR1\x15", (None, "a Parquet file"))
    yield File("zstd", b"\x28\xb5\x2f\xfd\x00", (None, "packed with zstd"))
    yield File("utf-32", plain.encode("utf-32"), right)
    for encoding in ("iso-8859-15", "mac-roman", "cp850"):
        yield File(f"told {encoding}", plain.encode(encoding), right, Reading(encoding=encoding))
    for written in ("utf-16", "utf-16-le", "utf-16-be"):
        data = plain.encode(written)
        yield File(f"told utf-16 of {written}", data, right, Reading(encoding="utf-16"))
    for told, mark in (("cp1252", "utf-8-sig"), ("utf-8-sig", "utf-16"), ("utf-16", "utf-8-sig")):
        yield File(
            f"told {told}, marked {mark}",
            plain.encode(mark),
            (1, "it has the byte order mark of"),
            Reading(encoding=told),
        )
    yield File(
        "told utf-16-be, marked utf-16-le",
        b"\xff\xfe" + plain.encode("utf-16-le"),
        right,
        Reading(encoding="utf-16-be"),
    )
    yield File(
        "told wrong",
        plain.encode("cp1252"),
        (2, "byte 0xfc is not UTF-8"),
        Reading(encoding="utf-8-sig"),
    )
    yield File(
        "two encodings",
        f"{HEAD}1,A,ü,\n".encode() + "2,A,ü,\n".encode("cp1252"),
        (3, "byte 0xfc is not UTF-8, though there is UTF-8 before it"),
    )
    yield File(
        "neither encoding",
        HEAD.encode() + b"1,A,,\r2,A,\x81,\n",
        (3, "byte 0x81 is not Windows-1252"),
    )
    yield File("utf-16 cut off", plain.encode("utf-16")[:-1], (2, "is not UTF-16"))
    yield File("a NUL", f"{NOTES}\0,1,A,,\n".encode(), {"1": "A"})


def _headers() -> Iterator[File]:
    def file(
        name: str, text: str, right: Rows | tuple[int, str], columns: Columns = VENDOR
    ) -> File:
        return File(name, text.encode(), right, Reading(columns=columns))

    yield file("capitals", HEAD.upper() + "1,A,,\n", {"1": "A"})
    yield file(
        "vendor",
        "I3_IDENTITY,I3_campaignownerid,x,I3_campaignownerexpiration\n1,A,x,\n",
        {"1": "A"},
    )
    yield file(
        "order", "i3_campaignownerexpiration,i3_campaignownerid,i3_identity\n,A,1\n", {"1": "A"}
    )
    yield file(
        "blanks",
        " i3_identity , i3_campaignownerid , i3_campaignownerexpiration \n1,A,\n",
        {"1": "A"},
    )
    yield file(
        "quoted titles",
        '"i3_identity";"i3_campaignownerid";"a,b";"i3_campaignownerexpiration"\n1;A;;\n',
        {"1": "A"},
    )
    yield file("titles of two lines", '"a\nb",' + HEAD + "x,1,A,,\nx,,A,,\n", (4, "is empty"))
    yield file("foreign titles twice", "x,x," + HEAD + ",,1,A,,\n", {"1": "A"})
    for opens, closes in ("[]", "``"):
        titles = ",".join(f"{opens}{title.upper()}{closes}" for title in TITLES)
        yield file(f"titles in {opens}{closes}", f"{titles}\n1,A,,\n", {"1": "A"})
    for delimiter in "^~:":
        text = f"{HEAD}1,A,,\n".replace(",", delimiter)
        yield file(f"unknown {delimiter}", text, (1, "it is not known what separates cells"))
        yield file(f"told {delimiter}", f"sep={delimiter}\n{text}", {"1": "A"})
    yield file("header and Ctrl-Z", HEAD.strip() + "\x1a", {})
    yield file("Ctrl-Z alone", "\x1a", (1, "the file is empty"))
    yield file("title twice", "i3_identity," + HEAD, (1, "is there twice"))
    yield file(
        "title twice by case",
        "I3_IDENTITY,i3_Identity,i3_campaignownerid,i3_campaignownerexpiration\n",
        (1, "is there twice"),
    )
    yield file("empty", "", (1, "the file is empty"))
    yield file("blank", "\n \n", (1, "the file is empty"))
    yield file("no header", "1,A,,\n", (1, 'no column "i3_identity"; found: 1, A, , '))
    yield file(
        "no expiration",
        "i3_identity,i3_campaignownerid\n",
        (1, 'no column "i3_campaignownerexpiration"'),
    )
    yield file("unclosed header", '"i3_identity,a\n1,A\n', (1, "a quote opens in the header"))
    yield file("header after blank lines", "\n\na,b\n", (3, "no column"))
    without = Columns(name="", expiration="")
    yield file(
        "no expiration, by request", "i3_identity,i3_campaignownerid\n1,A\n", {"1": "A"}, without
    )
    own = Columns(record="Contact", owner="Owner", expiration="Until")
    yield file("own titles", "Until;Phone;owner;CONTACT\n;5;A;1\n", {"1": "A"}, own)
    yield file("sep alone", "sep=;\n", (1, "the file is empty"))
    yield file("sep wrong", "sep=;\n" + HEAD, (2, "it is not known what separates cells"))
