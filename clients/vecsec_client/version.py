"""Which version of VecSec this is."""

from importlib.metadata import PackageNotFoundError, version

NOT_INSTALLED = "0+unknown"
"""Run from a source tree, which has no version of its own."""


def installed_version() -> str:
    """The version that the installed package says; `NOT_INSTALLED` where there is none."""
    try:
        return version("vecsec-client")
    except PackageNotFoundError:
        return NOT_INSTALLED
