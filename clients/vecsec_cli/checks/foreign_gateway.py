"""A gateway of another stack than the doctor would look at: it alone is asked, and nothing else is called well."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import grpc

from vecsec_cli.checks.finding import CheckResult, CheckState, fail, warn
from vecsec_cli.checks.services import check_health, services
from vecsec_cli.local.service_channels import service_credentials
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_REMEDY = "is the address right? then look where its stack runs; with TLS, VECSEC_ROOT_CERTIFICATES says what to trust"
_SCHEMES = ("dns:///", "ipv4:", "ipv6:")


def foreign_gateway(state: StateDirectory, settings: Mapping[str, str]) -> str | None:
    """The gateway that VECSEC_GATEWAY names, if it is another one than the stack's of the state directory."""
    named = settings.get("VECSEC_GATEWAY", "")
    if not named:
        return None
    return None if _same(named, services(state, settings)["gateway"].address) else named


def is_of_another_stack(settings: Mapping[str, str], port: int | None) -> bool:
    """Whether VECSEC_GATEWAY names another gateway than this machine's at `port`, which may not be known."""
    named = settings.get("VECSEC_GATEWAY", "")
    if not named:
        return False
    host, named_port = _spelt(named)
    return host != "localhost" or port not in {None, int(named_port) if named_port.isdecimal() else -1}


def check_foreign_gateway(address: str, state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """Whether that gateway serves, and its parts; and that nothing else was looked at."""
    yield warn(
        "stack",
        f"VECSEC_GATEWAY={address} is not of {state.root}: that gateway alone was asked, no disk, file or service",
        "run the doctor where that stack runs (--stack, --state-dir), or unset VECSEC_GATEWAY",
    )
    try:
        found = check_health("gateway", address, _credentials(settings))
        yield found if found.state is CheckState.OK else replace(found, remedy=_REMEDY)
    except CommandFailure as failure:
        yield fail("gateway", failure.message, failure.hint)


def _credentials(settings: Mapping[str, str]) -> grpc.ChannelCredentials | None:
    """As a caller's: the authority that is trusted, and a certificate of one's own where it is set."""
    trusted = settings.get("VECSEC_ROOT_CERTIFICATES")
    if not trusted:
        return service_credentials(settings)
    try:
        key, certificate = (
            Path(settings[name]).read_bytes() if settings.get(name) else None
            for name in ("VECSEC_CLIENT_KEY", "VECSEC_CLIENT_CERTIFICATE")
        )
        return grpc.ssl_channel_credentials(Path(trusted).read_bytes(), key, certificate)
    except OSError as error:
        raise CommandFailure(f"{error.filename}: {error.strerror}", hint="name a file that you may read") from error


def _same(one: str, other: str) -> bool:
    return _spelt(one) == _spelt(other)


def _spelt(address: str) -> tuple[str, str]:
    for scheme in _SCHEMES:
        address = address.removeprefix(scheme)
    host, _, port = address.rpartition(":")
    return ("localhost" if host in _LOOPBACK else host.lower(), port)
