"""Bytes as lines of text: which encoding it is, and where a line ends, as an editor sees it.

A line ends with CR LF, LF or CR. An encoding that is not told is found: by the byte order mark, by
the NULs of UTF-16, else it is UTF-8. Where that breaks and nothing before was beyond ASCII, it is
taken for Windows-1252, and `Text.guess` says so: what Excel saves as CSV in the West.
"""

import codecs
import io
from collections.abc import Iterator

from ownerd.contactfile.faults import FileFault

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like the next
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 512
_SPELLED = {"utf-8": "UTF-8", "utf-16": "UTF-16", "windows-1252": "Windows-1252"}
_CR = "\r"


class UnknownEncoding(ValueError):
    """There is no such encoding of text."""


class _Undecodable(Exception):
    """A byte that the encoding does not have; `rest` is what was not decoded, from it on."""

    def __init__(self, what: UnicodeDecodeError | str, name: str = "", ascii_before: bool = False):
        self.rest = b""
        self.ascii_before = ascii_before
        if isinstance(what, UnicodeDecodeError):
            self.rest = what.object[what.start :]
            byte = f"byte 0x{what.object[what.start]:02x} is not {_SPELLED.get(name, name)}"
            what = f"{byte}: {what.reason}" if name.startswith("utf-16") else byte
        super().__init__(what)


def find_encoding(name: str) -> str:
    """Return an encoding by any of its names.

    Raises:
        UnknownEncoding: There is none, or it is none of text.
    """
    try:
        # The only public way to tell text encodings from the others, such as base64.
        b"a".decode(name, "ignore")
        found = codecs.lookup(name).name
    except (LookupError, ValueError, TypeError, UnicodeError):
        raise UnknownEncoding(
            f'"{name}" is no encoding of text; such are utf-8, utf-16, windows-1252, iso-8859-15'
        ) from None
    return "utf-8-sig" if found == "utf-8" else found


class Text:
    """Iterates the lines of a file, with their ends; `guess` is a note on a guessed encoding."""

    def __init__(self, blocks: Iterator[bytes], encoding: str | None = None) -> None:
        self.guess = ""
        self._blocks = blocks
        self._encoding = encoding
        self._count = 0

    def __iter__(self) -> Iterator[str]:
        """Yield line by line.

        Raises:
            FileFault: A byte is not of the encoding; the fault names its line.
        """
        try:
            for line in _split(self._decoded()):
                self._count += 1
                yield line
        except _Undecodable as error:
            raise FileFault(
                str(error), self._count + 1, "name the encoding with --encoding"
            ) from None

    def _decoded(self) -> Iterator[str]:
        first = next(self._blocks, b"")
        told = _told(self._encoding, first) or _marked(first) or _utf16_without_mark(first)
        blocks = _chain(first, self._blocks)
        if told is not None:
            yield from _decoded_as(told, blocks)
            return
        try:
            yield from _decoded_as("utf-8", blocks)
        except _Undecodable as error:
            if not error.ascii_before:
                raise _Undecodable(f"{error}, though there is UTF-8 before it") from None
            self.guess = (
                f"read as Windows-1252: {error}; if it is in another encoding, name it with"
                " --encoding"
            )
            try:
                yield from _decoded_as("windows-1252", _chain(error.rest, self._blocks))
            except _Undecodable as other:
                raise _Undecodable(f"{other}, nor is the file UTF-8") from None


def _chain(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _decoded_as(encoding: str, blocks: Iterator[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    name = encoding.removesuffix("-sig")
    ascii_before = True
    try:
        for block in blocks:
            text = decoder.decode(block)
            ascii_before = ascii_before and text.isascii()
            yield text
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        good = error.object[: error.start]
        text = good.decode(error.encoding, "ignore")
        yield text
        ascii_before = ascii_before and text.isascii()
        raise _Undecodable(error, name, ascii_before) from None
    except UnicodeError as error:  # of a codec that has no such details
        raise FileFault(f"it is not {name}: {error}") from None


def _told(encoding: str | None, first: bytes) -> str | None:
    """Return the encoding to read as where one is told: it is not to contradict the mark."""
    if encoding is None:
        return None
    marked = _marked(first)
    if marked is not None:
        spelled = marked.removesuffix("-sig").upper()
        if not encoding.upper().startswith(spelled):
            raise FileFault(f"it has the byte order mark of {spelled}", 1, "leave out --encoding")
        return marked
    if encoding == "utf-16":  # whose codec needs a mark
        return _utf16_without_mark(first) or "utf-16-le"
    return encoding


def _marked(first: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if first.startswith(mark)), None)


def _utf16_without_mark(first: bytes) -> str | None:
    """Return which UTF-16 a text of mostly ASCII letters is in; None for neither."""
    sample = first[:_SAMPLE_BYTES]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    enough = len(sample) // 4
    if odd > enough and not even:
        return "utf-16-le"
    return "utf-16-be" if even > enough and not odd else None


def _split(texts: Iterator[str]) -> Iterator[str]:
    """Yield the lines of a text that comes in parts, each in one piece and with its end."""
    begun: list[str] = []  # of the line whose end has not come
    held = ""  # a CR that a LF may follow
    try:
        for text in texts:
            text, held = held + text, ""
            if text.endswith(_CR):
                text, held = text[:-1], _CR
            pieces = list(io.StringIO(text, newline=""))
            if not pieces:
                continue
            last = pieces.pop() if pieces[-1][-1] not in "\r\n" else ""
            if pieces and begun:
                pieces[0] = "".join((*begun, pieces[0]))
                begun.clear()
            if last:
                begun.append(last)
            yield from pieces
    except _Undecodable:
        if held:
            yield "".join((*begun, held))
        raise
    if begun or held:
        yield "".join((*begun, held))
