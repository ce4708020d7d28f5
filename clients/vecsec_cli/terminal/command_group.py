"""Turns every expected failure of a subcommand into one clear line, a hint and an exit code."""

import errno
from typing import Any

import typer
from typer.core import TyperGroup

from vecsec_cli.terminal import added_commands, output, service_errors
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.service_errors import failure_fields
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

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that these words begin with: an added one may have a name of two (`token inspect`)."""
        two_words = added_commands.find(" ".join(args[:2])) if len(args) > 1 else None
        return (two_words.name, two_words, args[2:]) if two_words is not None else super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> object:  # a Context of the Click that typer brings along
        """Run the subcommand; report what it raises."""
        ctx.obj = mode = output.OutputMode()
        try:
            return super().invoke(ctx)
        except CommandFailure as failure:
            _report_failure(mode, failure)
            raise typer.Exit(failure.exit_code) from failure
        except VecSecError as error:
            message, hint = service_errors.message_of(error), service_errors.hint_for(error)
            _report(mode, failure_fields(error.code.name, message, hint, error), message, hint)
            raise typer.Exit(service_errors.exit_code_of(error)) from error
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from interrupt
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise  # the reader of our output has seen enough; typer ends quietly
            exit_code = ExitCode.LIMIT if error.errno in {errno.ENOSPC, errno.EDQUOT} else ExitCode.INVALID
            _report_failure(mode, CommandFailure(str(error), exit_code=exit_code))
            raise typer.Exit(exit_code) from error


def _report(mode: output.OutputMode, details: dict[str, object], message: str, hint: str) -> None:
    if mode.json:
        output.print_json({"error": details}, to_stderr=True)
    else:
        output.report_failure(message, hint)


def _report_failure(mode: output.OutputMode, failure: CommandFailure) -> None:
    _report(mode, failure_fields(failure.exit_code.name, failure.message, failure.hint), failure.message, failure.hint)
