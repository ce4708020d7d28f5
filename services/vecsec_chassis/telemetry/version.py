"""Which version this is, as traces say it."""

import os
from importlib.metadata import PackageNotFoundError, version


def service_version() -> str:
    """The installed version; in an image, which has the code alone, what its build says; else `unknown`."""
    try:
        return version("vecsec")
    except PackageNotFoundError:
        return os.environ.get("VECSEC_VERSION", "unknown")
