"""Failures of the command itself. Those of the services come as the SDK's `VecSecError`."""

from vecsec_cli.terminal.exit_codes import ExitCode

INSTALL_SERVICES = "pip install ./clients/vecsec-client '.[services]' in a checkout"
"""What to do where the client alone is installed."""


class CommandFailure(Exception):
    """Ends the command with one line on stderr, a hint what to do and an exit code."""

    def __init__(self, message: str, *, hint: str = "", exit_code: ExitCode = ExitCode.INVALID) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
