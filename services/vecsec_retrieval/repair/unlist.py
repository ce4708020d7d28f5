"""`python -m vecsec_retrieval.repair.unlist PATH TENANT` takes a cell that is put aside, or gone, off its store's list.

Prints `{"was_listed"}`. Nobody may use the store meanwhile. On failure the last line of standard error says why, and
the status is 1.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_retrieval.stores.folder.store_identity import read_identity, write_identity

EXIT_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Take it off the list and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vecsec_retrieval.repair.unlist", description=__doc__)
    parser.add_argument("path", type=Path, help="the store")
    parser.add_argument("tenant", help="whose cell is there no more")
    options = parser.parse_args(arguments)
    try:
        was_listed = _unlist(options.path, options.tenant)
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED
    sys.stdout.write(json.dumps({"was_listed": was_listed}) + "\n")
    return 0


def _unlist(path: Path, tenant_id: str) -> bool:
    identity = read_identity(path)
    if identity is None or tenant_id not in identity.cells:
        return False
    write_identity(path, replace(identity, cells=identity.cells - {tenant_id}))
    return True


if __name__ == "__main__":
    sys.exit(main())
