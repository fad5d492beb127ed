"""What tests ask of access; built only with OWNERD_TESTING=1."""

from ownerd.access.glob cimport glob_matches
from ownerd.base.bytes cimport slice_of


def matches(str pattern, str text):
    """Tell whether a pattern fits the whole text."""
    wanted, found = pattern.encode(), text.encode()
    return bool(glob_matches(
        slice_of(<const char *> wanted, len(wanted)), slice_of(<const char *> found, len(found))
    ))
