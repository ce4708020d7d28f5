"""Makes what compose.yaml mounts: `.env` and `state/`, with keys, rules, flag file and Grafana's password.

What exists stays as it is, so `make up` runs this each time. Whoever can read `state/` can be anybody: it lets in its
owner only. What is mounted out of it is readable by all, since the containers' users are nobody's on this machine.
"""

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certificates

from vecsec_cli.local import installation, state_files
from vecsec_cli.local.service_settings import read_dotenv
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure

HERE = Path(__file__).resolve().parent
STORAGES = ("remote", "embedded", "shards")
BESIDE_THE_ROWS = 768 << 20
"""Bytes that retrieval takes at most for all but rows: itself, its libraries, the model, calls on their way."""
TIME_TO_BEGIN = timedelta(days=1)
"""Images may have to be built before the first start."""
_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class MountedState(StateDirectory):
    """A state directory that keeps what changes live in folders: a file that is mounted alone never changes."""

    @property
    def flags_file(self) -> Path:
        """For gateway and retrieval."""
        return self.root / "flags" / "flags.json"

    @property
    def policy(self) -> Path:
        """For the policy service."""
        return self.root / "rules" / "policy"

    @property
    def secrets(self) -> Path:
        """What single containers may read."""
        return self.root / "secrets"

    @property
    def new_store(self) -> Path:
        """Retrieval's leave to begin an embedded store, which ends by itself."""
        return self.root / "new-store.env"

    @property
    def tls(self) -> Path:
        """A folder of certificates for each service, and the authority's key, which none of them sees."""
        return self.root / "tls"

    @property
    def mounted(self) -> tuple[Path, ...]:
        """Folders whose content containers read."""
        return self.flags_file.parent, self.policy.parent, self.secrets


def prepare(folder: Path) -> None:
    """Make what is missing in a folder with a compose file.

    Raises:
        CommandFailure: if a setting is missing or wrong, or a file cannot be written.
        OSError: likewise.
    """
    example = folder / ".env.example"
    if not (folder / ".env").exists():
        state_files.create(folder / ".env", example.read_bytes(), mode=0o600)
    settings = read_dotenv(folder / ".env") | os.environ
    check_settings(settings)
    state = MountedState(folder / "state")
    state.root.mkdir(mode=0o700, exist_ok=True)
    state.root.chmod(0o700)
    for part in (*state.mounted, state.tls):
        part.mkdir(exist_ok=True)
    for service in certificates.NAMES:
        (state.tls / service).mkdir(exist_ok=True)
    if settings.get("VECSEC_TLS") == "on":
        certificates.ensure(state.tls)
    installation.prepare(state, {})
    state_files.create(state.secrets / "grafana-admin-password", secrets.token_urlsafe(24).encode())
    state_files.replace(state.secrets / "grant.pem", state.grant_key.read_bytes())
    if settings["VECSEC_STORAGE"] != "remote":
        # Made once: a volume that is empty later on has lost its store.
        until = datetime.now(UTC) + TIME_TO_BEGIN
        state_files.create(state.new_store, f"VECSEC_NEW_STORE_UNTIL={until:%Y-%m-%dT%H:%MZ}\n".encode())
    for part in (*state.mounted, *(state.tls / service for service in certificates.NAMES)):
        _open(part)


def check_settings(settings: Mapping[str, str | None]) -> None:
    """Refuse what Compose would take and the services would suffer from.

    Raises:
        CommandFailure: naming the setting.
    """
    storage = settings.get("VECSEC_STORAGE")
    if storage not in STORAGES:
        raise CommandFailure(f"VECSEC_STORAGE={storage!r} in .env is none of {', '.join(STORAGES)}")
    if settings.get("VECSEC_TLS") not in {None, "on", "off"}:
        raise CommandFailure(f"VECSEC_TLS={settings['VECSEC_TLS']!r} in .env is neither on nor off")
    profiles = {each.strip() for each in (settings.get("COMPOSE_PROFILES") or "").split(",")}
    if profiles & set(STORAGES) != {storage}:
        raise CommandFailure(
            f"COMPOSE_PROFILES in .env starts {sorted(profiles & set(STORAGES))}, but VECSEC_STORAGE={storage}",
            hint="write COMPOSE_PROFILES=${VECSEC_STORAGE},monitoring",
        )
    rows, container = (_bytes(settings, name) for name in ("CHROMA_MEMORY_LIMIT", "RETRIEVAL_CONTAINER_MEMORY"))
    if container < rows + BESIDE_THE_ROWS:
        raise CommandFailure(
            f"RETRIEVAL_CONTAINER_MEMORY={settings['RETRIEVAL_CONTAINER_MEMORY']} in .env leaves less than "
            f"{BESIDE_THE_ROWS >> 20}M beside CHROMA_MEMORY_LIMIT={settings['CHROMA_MEMORY_LIMIT']}",
            hint="raise the one or lower the other",
        )


def _bytes(settings: Mapping[str, str | None], name: str) -> int:
    """A size as Compose and retrieval both understand it."""
    value = settings.get(name) or ""
    factor = _FACTORS.get(value[-1:].lower())
    if factor is None or not value[:-1].isdecimal():
        raise CommandFailure(f"{name}={value!r} in .env is not a size such as 512M or 2G")
    return int(value[:-1]) * factor


def _open(folder: Path) -> None:
    """Let everybody read a folder whose parent lets nobody in."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def main() -> None:
    """Prepare this folder, or the one that is named."""
    try:
        prepare(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
    except CommandFailure as failure:
        sys.exit(f"compose: {failure.message}" + (f"\n  {failure.hint}" if failure.hint else ""))
    except OSError as error:
        sys.exit(f"compose: cannot write {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
