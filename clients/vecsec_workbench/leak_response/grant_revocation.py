"""Revokes every grant there is: another key signs, and the public halves of all before are withdrawn."""

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vecsec_cli.local import development_issuer, state_files
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_workbench.leak_response.steps import comes_true

_SUFFIX = ".pem"
_STAMP = "%Y%m%dT%H%M%S"
_PUBLISHED_SECONDS = 1.5
"""Retrieval looks at the set every second."""
_ADOPTION_SECONDS = 8.0
_PUBLIC = ("kty", "crv", "x", "kid", "alg", "use")


@dataclass(frozen=True, slots=True)
class Revocation:
    """What was done."""

    key_id: str
    """Of the key that signs from now on."""
    withdrawn: tuple[str, ...]
    """The ids of the keys that no grant is accepted from any more."""
    is_adopted: bool
    """Whether the policy service was seen to sign with the new key."""


def revoke_grants(key: Path, key_set: str, signs_with: Callable[[], str | None] | None) -> Revocation:
    """Make a new key, let the policy service take it, and withdraw all others, in an order that fails no other call.

    The new public key is published first, and the old ones go last, also if nobody was seen to sign with the new one.

    Args:
        key: the private key's file, or a folder of which the last by name signs.
        key_set: the file with the public keys.
        signs_with: finds the id of the key that a fresh grant is signed with, or None; None if nobody can be asked.

    Raises:
        CommandFailure: if these files are not on this machine or cannot be understood; nothing was changed.
        OSError: if they cannot be written.
    """
    _published(key_set)  # that there is one, before a lock is made beside it
    with _exclusively(Path(key_set)):
        return _revoke(key, key_set, signs_with)


def _revoke(key: Path, key_set: str, signs_with: Callable[[], str | None] | None) -> Revocation:
    published = _published(key_set)
    pem = development_issuer.new_key_pem()
    private_key = load_pem_private_key(pem, password=None)
    public = development_issuer.public_jwk(private_key)  # type: ignore[arg-type]  # it was made an Ed25519 key above
    key_id = public["kid"]
    target = _key_file(key)
    set_file = Path(key_set)
    before = set_file.read_bytes()
    _replace_file(set_file, development_issuer.key_set([*published.values(), public]), 0o644)
    time.sleep(_PUBLISHED_SECONDS)
    try:
        _replace_file(target, pem, 0o600)
    except OSError:
        _replace_file(set_file, before, 0o644)
        raise
    if signs_with is None:
        time.sleep(_PUBLISHED_SECONDS)
    is_adopted = signs_with is not None and comes_true(lambda: signs_with() == key_id, _ADOPTION_SECONDS)
    _replace_file(set_file, development_issuer.key_set([public]), 0o644)
    return Revocation(key_id, tuple(published), is_adopted)


@contextmanager
def _exclusively(key_set: Path) -> Iterator[None]:
    """Wait for others who revoke: of two at once, each would withdraw the other's new key."""
    with key_set.with_name(f".{key_set.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def public_members(key_set: bytes) -> dict[str, object]:
    """A set of public keys with what is public of them, whatever else it may hold by mistake.

    Raises:
        ValueError, KeyError, TypeError: if it is none.
    """
    entries = json.loads(key_set)["keys"]
    return {"keys": [{name: entry[name] for name in _PUBLIC if name in entry} for entry in entries]}


def _published(key_set: str) -> Mapping[str, Mapping[str, object]]:
    """The public keys by their ids."""
    if key_set.startswith(("http://", "https://")):
        raise CommandFailure(
            f"VECSEC_GRANT_JWKS={key_set}: the set of public keys is behind a URL",
            hint="put a new key into it, let the policy service sign with that, and take all others out",
        )
    try:
        return {str(entry["kid"]): entry for entry in json.loads(Path(key_set).read_bytes())["keys"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandFailure(
            f"VECSEC_GRANT_JWKS={key_set} is not a set of public keys on this machine: {error!r}",
            hint="run this where retrieval reads it; for Kubernetes see `vecsec panic --kubernetes`",
        ) from error


def _key_file(key: Path) -> Path:
    """Where the new private key goes; in a folder, to a name that sorts last."""
    if not key.is_dir():
        if key.exists():
            return key
        raise CommandFailure(
            f"VECSEC_GRANT_KEY_FILE={key}: no such file on this machine",
            hint="run this where the policy service reads it; for Kubernetes see `vecsec panic --kubernetes`",
        )
    last = max((path.stem for path in key.glob(f"*{_SUFFIX}")), default="grant")
    unstamped = re.sub(r"_\d{8}T\d{6}$", "", last)
    name = f"{unstamped}_{time.strftime(_STAMP, time.gmtime())}{_SUFFIX}"
    return key / (name if name > f"{last}{_SUFFIX}" else f"{last}_{_SUFFIX}")


def _replace_file(path: Path, content: bytes, mode: int) -> None:
    """Replace a file at once; whoever owned it, and could read it, still does."""
    try:
        status = path.stat()
    except FileNotFoundError:
        status = path.parent.stat()
    else:
        mode = status.st_mode & 0o777
    state_files.replace(path, content, mode=mode)
    if os.geteuid() == 0:
        # Whoever owns the folder may have put a link here meanwhile: what that leads to is not to become theirs.
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
