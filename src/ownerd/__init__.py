"""ownerd: the referee for outbound campaigns that dial from the same contact list."""


def __getattr__(name: str) -> str:
    """Return `__version__`, which is looked up when it is asked for: that takes a moment."""
    if name != "__version__":
        raise AttributeError(f"module 'ownerd' has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ownerd")
    except PackageNotFoundError:  # run from a build folder that was never installed
        return "0+unknown"
