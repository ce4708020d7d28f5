"""How a command gets to the gateway: where it is, with which token, for how long."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Concatenate, ParamSpec

import typer

from vecsec_cli.local.run_file import read_run_file
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.options import JsonOption, StateDirectoryOption, state_directory
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.service_errors import MINT_TOKEN
from vecsec_client import RetryPolicy, VecSecClient

DEFAULT_ADDRESS = "localhost:50051"

_RETRIES = RetryPolicy(attempts=3, initial_wait_seconds=0.2, longest_wait_seconds=2.0)
"""Somebody waits at a terminal: a short hiccup is bridged, an outage is told."""

P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """The options that every command has that talks to the gateway; typer reads them from these fields."""

    gateway: Annotated[
        str,
        typer.Option(
            envvar="VECSEC_GATEWAY",
            help=f"The gateway. Default: the running `vecsec up` of the state directory, or {DEFAULT_ADDRESS}.",
            show_default=False,
        ),
    ] = ""
    token: Annotated[
        str,
        typer.Option(
            envvar="VECSEC_TOKEN",
            help="The caller's token; better given as VECSEC_TOKEN, for others can see the command line.",
            show_default=False,
        ),
    ] = ""
    root_certificates: Annotated[
        Path | None,
        typer.Option(
            envvar=["VECSEC_ROOT_CERTIFICATES", "VECSEC_TLS_CA_FILE"],
            help="Trust these certificates (PEM) instead of the usual ones.",
        ),
    ] = None
    client_certificate: Annotated[
        Path | None,
        typer.Option(envvar="VECSEC_CLIENT_CERTIFICATE", help="Show this certificate (PEM) to a gateway that asks."),
    ] = None
    client_key: Annotated[
        Path | None, typer.Option(envvar="VECSEC_CLIENT_KEY", help="The private key (PEM) of that certificate.")
    ] = None
    plaintext: Annotated[
        bool,
        typer.Option("--plaintext", help="Do not encrypt, though the gateway is on another machine."),
    ] = False
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait for the answer, retries included.")] = 30.0
    state_dir: StateDirectoryOption = None
    json: JsonOption = False


@dataclass(frozen=True, slots=True)
class GatewaySession:
    """What a command works with."""

    client: VecSecClient
    address: str
    state: StateDirectory
    json: bool
    """Whether to print JSON."""


def with_gateway(command: Callable[Concatenate[GatewaySession, P], None]) -> Callable[..., None]:
    """Give a command the options of `GatewayOptions`, and in their place a session as its first argument."""

    @functools.wraps(command)
    def run(options: GatewayOptions, /, *arguments: P.args, **keywords: P.kwargs) -> None:
        session = open_session(options)
        with session.client:
            command(session, *arguments, **keywords)

    return with_gateway_options(run)


def with_gateway_options(command: Callable[Concatenate[GatewayOptions, P], None]) -> Callable[..., None]:
    """Give a command that may do without a gateway the options of `GatewayOptions`, as its first argument."""
    names = [field.name for field in fields(GatewayOptions)]

    @functools.wraps(command)
    def run(*arguments: P.args, **keywords: P.kwargs) -> None:
        options = GatewayOptions(**{name: keywords.pop(name) for name in names})  # type: ignore[arg-type]
        command(options, *arguments, **keywords)

    own = list(inspect.signature(command).parameters.values())[1:]
    added = inspect.signature(GatewayOptions).parameters.values()
    vars(run).update(__signature__=inspect.Signature([*own, *added]), __annotations__={})
    return run


def open_session(options: GatewayOptions) -> GatewaySession:
    """A client for the gateway that the options name.

    Raises:
        CommandFailure: without a token, or if the options contradict one another.
    """
    if not options.token:
        raise CommandFailure(
            "no token: calls are made on somebody's behalf, and a token says on whose",
            hint=MINT_TOKEN,
            exit_code=ExitCode.UNAUTHENTICATED,
        )
    state = state_directory(options.state_dir)
    running = None if options.gateway else read_run_file(state.run_file)
    address = options.gateway or (DEFAULT_ADDRESS if running is None else running.gateway_address)
    try:
        client = VecSecClient(
            address,
            token=options.token,
            timeout=options.timeout,
            retry_policy=_RETRIES,
            root_certificates=options.root_certificates,
            client_certificate=options.client_certificate,
            client_key=options.client_key,
            plaintext=True if options.plaintext else None,
        )
    except (ValueError, OSError) as error:
        raise CommandFailure(str(error)) from error
    return GatewaySession(client=client, address=address, state=state, json=options.json)
