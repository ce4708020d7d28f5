"""Keys, issuers, rules and the flag file."""

import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from vecsec_cli.checks.finding import Finding, fail, ok, warn
from vecsec_cli.failures import CommandFailure
from vecsec_cli.flag_file import read_setting
from vecsec_cli.state_directory import StateDirectory

_POLICY_FILES = ("schema.cedarschema", "roles.yaml", "tenants.yaml")
_MAKE = "`vecsec up` makes it"
_SHOWN_TENANTS = 5


def check_configuration(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[Finding]:
    """The files that the services are configured by; settings go before the state directory."""
    grant_key = Path(settings.get("VECSEC_GRANT_KEY_FILE") or state.grant_key)
    yield _private_key("grant key", grant_key)
    grant_jwks = settings.get("VECSEC_GRANT_JWKS") or str(state.grant_jwks)
    if not grant_jwks.startswith(("http://", "https://")):
        yield _key_set("grant key set", Path(grant_jwks))
    if state.issuer_key.exists():
        yield _private_key("development issuer's key", state.issuer_key)
    yield _issuers(Path(settings.get("VECSEC_ISSUERS_FILE") or state.issuers_file))
    yield _policy(Path(settings.get("VECSEC_POLICY_DIR") or state.policy))
    yield _flag(Path(settings.get("VECSEC_FLAG_FILE") or state.flags_file), settings)


def _private_key(name: str, path: Path) -> Finding:
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        return fail(name, f"{path}: {error.strerror}", _MAKE if isinstance(error, FileNotFoundError) else "chmod 600")
    if b"PRIVATE KEY" not in content:
        return fail(name, f"{path} holds no private key in PEM", f"remove it with its key set; then {_MAKE} anew")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return fail(name, f"{path} can be used by others (mode {stat.S_IMODE(mode):o})", f"chmod 600 {path}")
    return ok(name, str(path))


def _key_set(name: str, path: Path) -> Finding:
    try:
        count = len(json.loads(path.read_bytes())["keys"])
    except OSError as error:
        return fail(name, f"{path}: {error.strerror}", _MAKE)
    except (ValueError, KeyError, TypeError):
        return fail(name, f"{path} is no set of public keys", f"remove it; then {_MAKE} anew")
    return ok(name, f"{path}: {count} public key{'s' * (count != 1)}")


def _issuers(path: Path) -> Finding:
    try:
        issuers = json.loads(path.read_bytes())["issuers"]
        names = [issuer["issuer"] for issuer in issuers]
        key_sets = [issuer["jwks"] for issuer in issuers]
    except OSError as error:
        return fail("issuers", f"{path}: {error.strerror}", _MAKE)
    except (ValueError, KeyError, TypeError):
        return fail("issuers", f"{path} is no list of trusted issuers", f"correct it, or remove it; then {_MAKE} anew")
    for key_set in key_sets:
        if not key_set.startswith(("http://", "https://")):
            finding = _key_set("issuers", path.parent / key_set)
            if finding.remedy:
                return finding
    return ok("issuers", f"{path}: {', '.join(names)}")


def _policy(folder: Path) -> Finding:
    missing = [name for name in _POLICY_FILES if not (folder / name).is_file()]
    if not folder.is_dir():
        return fail("policy", f"{folder} does not exist", f"{_MAKE} a copy of the default rules there")
    if not any(folder.glob("*.cedar")):
        missing.append("*.cedar")
    if missing:
        return fail("policy", f"{folder} lacks {', '.join(missing)}", "restore it; the packaged default has them all")
    return ok("policy", str(folder))


def _flag(path: Path, settings: Mapping[str, str]) -> Finding:
    environment = settings.get("USE_REAL_VECTOR_RETRIEVAL", "true")
    try:
        setting = read_setting(path)
    except CommandFailure as failure:
        return warn("flag", failure.message, failure.hint or "correct the file; the last good value stays in force")
    if setting is None:
        return ok("flag", f"USE_REAL_VECTOR_RETRIEVAL={environment}; {path} leaves it at that")
    exceptions = [name for name in sorted(setting.tenants) if setting.tenants[name] != setting.default]
    shown = ", ".join(exceptions[:_SHOWN_TENANTS]) + (" …" if len(exceptions) > _SHOWN_TENANTS else "")
    detail = f"{'on' if setting.default else 'off'}" + (f", but not for {shown}" if exceptions else "")
    if setting.default and not exceptions:
        return ok("flag", detail)
    return warn("flag", f"real retrieval is {detail}", "`vecsec flag set on` ends made-up answers")
