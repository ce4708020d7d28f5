"""Builds the images with what `.env` says of them: `../images/build` knows its settings from the environment alone."""

import os
import subprocess
import sys
from pathlib import Path

from vecsec_cli.local.service_settings import read_dotenv
from vecsec_cli.terminal.failures import CommandFailure

HERE = Path(__file__).resolve().parent
SETTINGS = ("BASE_IMAGE", "PIP_ARGUMENTS", "VECSEC_VERSION")


def build(folder: Path) -> int:
    """Build them; the exit status of whoever did.

    Raises:
        CommandFailure: if the folder's `.env` cannot be read.
    """
    settings = {name: value for name, value in read_dotenv(folder / ".env").items() if name in SETTINGS and value}
    return subprocess.run([HERE.parent / "images" / "build"], env=settings | os.environ, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    try:
        sys.exit(build(HERE))
    except CommandFailure as failure:
        sys.exit(f"compose: {failure.message}; {failure.hint}")
