"""ownerd: the referee for outbound campaigns that dial from the same contact list."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ownerd")
except PackageNotFoundError:  # run from a build folder that was never installed
    __version__ = "0+unknown"
