"""Turns every expected failure of a subcommand into one clear line, a hint and an exit code."""

import errno
from typing import Any

import typer
from typer.core import TyperGroup

from vecsec_cli.terminal import added_commands, output, service_errors
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import VecSecError


class CommandGroup(TyperGroup):
    """The root of the command line.

    With `--json` a failure is one JSON object on stderr, `{"error": {"code", "reason", "message", "violations",
    "retry_after_seconds", "request_id", "hint"}}`, and stdout stays empty.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Our own commands in the order of their registration, then the added ones."""
        return [*super().list_commands(ctx), *added_commands.names()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name."""
        return super().get_command(ctx, cmd_name) or added_commands.find(cmd_name)

    def invoke(self, ctx: Any) -> object:  # a Context of the Click that typer brings along
        """Run the subcommand; report what it raises."""
        ctx.obj = mode = output.OutputMode()
        try:
            return super().invoke(ctx)
        except CommandFailure as failure:
            _report(mode, _as_json(failure), failure.message, failure.hint)
            raise typer.Exit(failure.exit_code) from failure
        except VecSecError as error:
            _report(
                mode, service_errors.as_json(error), service_errors.message_of(error), service_errors.hint_for(error)
            )
            raise typer.Exit(service_errors.exit_code_of(error)) from error
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from interrupt
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise  # the reader of our output has seen enough; typer ends quietly
            exit_code = ExitCode.LIMIT if error.errno in {errno.ENOSPC, errno.EDQUOT} else ExitCode.INVALID
            _report(mode, _as_json(CommandFailure(str(error), exit_code=exit_code)), str(error), "")
            raise typer.Exit(exit_code) from error


def _report(mode: output.OutputMode, details: dict[str, object], message: str, hint: str) -> None:
    if mode.json:
        output.print_json({"error": details}, to_stderr=True)
    else:
        output.report_failure(message, hint)


def _as_json(failure: CommandFailure) -> dict[str, object]:
    return {
        "code": failure.exit_code.name,
        "reason": "",
        "message": failure.message,
        "violations": [],
        "retry_after_seconds": None,
        "request_id": "",
        "hint": failure.hint,
    }
