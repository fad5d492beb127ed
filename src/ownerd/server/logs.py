"""The server's log: one event per line on stderr, for people on a terminal, else JSON.

Events are snake_case names with fields; times are UTC. Libraries that log through `logging`
(gRPC) come out in the same form. Called once, before anything is logged.

A log that cannot be written is no reason to stop serving: a reader that went away (a closed pipe)
or a full disk loses events, and nothing else.
"""

import logging
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TextIO, cast

import structlog

from ownerd.printable import clean, json_text

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(
    level: str, form: Literal["auto", "console", "json"], stream: TextIO | None = None
) -> None:
    """Set up structlog and `logging` to write events from `level` up.

    Args:
        level: debug, info, warning or error.
        form: auto is console where the stream is a terminal, else json.
        stream: where to write; None is stderr.
    """
    out = _Lossy(sys.stderr if stream is None else stream)
    number = logging.getLevelNamesMapping()[level.upper()]
    _threshold[0] = number
    for_people = form == "console" or (form == "auto" and out.isatty())
    structlog.configure(
        processors=[*_SHARED, _severe_enough, *_renderers(for_people, out)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        # Which writes and flushes, and asks for no more of a stream.
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, out)),
    )
    _configure_libraries(number, for_people, out)


def level() -> str:
    """Return the level from which events are written."""
    return logging.getLevelName(_threshold[0]).lower()


def tail() -> str:
    """Return the lines that were written last."""
    return "".join(_tail)


def set_level(level: str) -> None:
    """Write events from another level up, from now on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    _threshold[0] = number
    logging.getLogger().setLevel(max(number, logging.WARNING))


# What was written last, for whoever looks for a fault.
_tail: deque[str] = deque(maxlen=2_000)
# What is below is not written. Loggers keep what they were configured with, so it stands here.
_threshold = [logging.INFO]


def _severe_enough(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if logging.getLevelNamesMapping()[event["level"].upper()] < _threshold[0]:
        raise structlog.DropEvent
    return event


class _Lossy:
    """A text stream whose writing never fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.isatty = stream.isatty

    def write(self, text: str) -> int:
        _tail.append(text)
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BrokenPipeError:
            # Nobody will ever read it again, and Python would fail on it once more at its end.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
        except (OSError, ValueError):
            pass


def _renderers(for_people: bool, stream: _Lossy) -> list[structlog.typing.Processor]:
    if for_people:
        return [_printable, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    # The traceback of an unforeseen error stays on the event's line, as a string.
    return [
        structlog.processors.format_exc_info,
        _what_happened_first,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(event: structlog.typing.EventDict, **options: Any) -> str:
    return json_text(event, default=options["default"])


def _printable(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Spell out what a terminal would obey: ids and paths are anyone's."""
    return {key: clean(value) if isinstance(value, str) else value for key, value in event.items()}


def _what_happened_first(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Put time, level and event in front of the event's fields."""
    head = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**head, **event}


def _configure_libraries(number: int, for_people: bool, stream: _Lossy) -> None:
    """Give `logging` the same form; libraries are heard from warning up."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_renderers(for_people, stream),
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
