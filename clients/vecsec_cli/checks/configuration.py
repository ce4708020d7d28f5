"""Who can use the private keys, and how the flag stands. Whether files are whole, the services say: see `start`."""

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.local.flag_file import read_setting
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure

_SHOWN_TENANTS = 5


def check_configuration(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """The keys' modes and the flag; settings go before the state directory."""
    yield from _private_key("grant key", Path(settings.get("VECSEC_GRANT_KEY_FILE") or state.grant_key))
    yield from _private_key("development issuer's key", state.issuer_key)
    yield _flag(Path(settings.get("VECSEC_FLAG_FILE") or state.flags_file), settings)


def _private_key(name: str, path: Path) -> Iterator[CheckResult]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISDIR(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield fail(name, f"{path} can be used by others (mode {stat.S_IMODE(mode):o})", f"chmod 600 {path}")


def _flag(path: Path, settings: Mapping[str, str]) -> CheckResult:
    environment = settings.get("USE_REAL_VECTOR_RETRIEVAL", "true")
    try:
        setting = read_setting(path)
    except CommandFailure as failure:
        return warn("flag", failure.message, failure.hint or "correct the file; the last good value stays in force")
    if setting is None and not path.exists():
        remedy = "`vecsec flag set on` writes it, or `off`; a service that starts without it takes it for off"
        return warn("flag", f"{path} is not there", remedy)
    if setting is None:
        return ok("flag", f"USE_REAL_VECTOR_RETRIEVAL={environment}; {path} leaves it at that")
    exceptions = [name for name in sorted(setting.tenants) if setting.tenants[name] != setting.default]
    shown = ", ".join(exceptions[:_SHOWN_TENANTS]) + (" …" if len(exceptions) > _SHOWN_TENANTS else "")
    detail = f"{'on' if setting.default else 'off'}" + (f", but not for {shown}" if exceptions else "")
    if setting.default and not exceptions:
        return ok("flag", detail)
    return warn("flag", f"real retrieval is {detail}", "`vecsec flag set on` ends made-up answers")
