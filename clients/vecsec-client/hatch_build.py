"""Where the SDK's packages lie: in an sdist here, as pyproject.toml names them; in a checkout beside and above."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

IN_CHECKOUT = {"vecsec": "../../protos/gen/vecsec", "vecsec_client": "../vecsec_client"}


class Sources(BuildHookInterface[Any]):
    """Adds those of a checkout to wheel and sdist; an editable installation finds them by `dev-mode-dirs`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds."""
        root = Path(self.root)
        if version == "editable" or (root / "vecsec_client").is_dir():
            return
        for package, source in IN_CHECKOUT.items():
            build_data["force_include"][str((root / source).resolve(strict=True))] = package
