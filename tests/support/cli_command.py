"""The `vecsec` command in this process."""

import json
from dataclasses import dataclass
from typing import Any

from typer import Typer
from typer.testing import CliRunner, Result

from vecsec_cli.main import app


@dataclass(frozen=True)
class Command:
    """Runs `vecsec` as a user would, with what the environment of a test says."""

    environment: dict[str, str]
    application: Typer = app

    def __call__(self, *arguments: str, exit_code: int = 0, **environment: str) -> Result:
        result = CliRunner().invoke(self.application, arguments, env={**self.environment, **environment})
        unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
        assert not unexpected, result.exception
        assert result.exit_code == exit_code, result.output
        return result

    def json(self, *arguments: str, exit_code: int = 0, **environment: str) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self(*arguments, "--json", exit_code=exit_code, **environment).stdout)
