"""The public keys by which grants are known again that were signed here, also once their key signs no more and the
service has started anew: what was done with grants is told when they may have been revoked."""

import json
import os
from pathlib import Path

import structlog

from vecsec_chassis.auth.grants import GrantSigner
from vecsec_chassis.auth.key_sets import keys_by_id
from vecsec_chassis.auth.key_state import KeyState
from vecsec_chassis.auth.keys import KeySource
from vecsec_chassis.auth.signatures import PublicKey
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import file_content
from vecsec_chassis.process.writable_folders import sync_folder

log = structlog.get_logger()

KEY_SUFFIX = ".pem"
_MOST_KEYS = 200
"""More than one a quarter of an hour for two days; grants tell for a day after their end."""
_DAMAGED = ".damaged"
_OWNER_ONLY = 0o600


def known_keys_file(audit_file: Path) -> Path:
    """Where they are kept: beside the audit log, for which they are."""
    return audit_file.with_name(f"{audit_file.stem}.grant-keys.json")


class KnownGrantKeys:
    """Finds a public key by its id. Keys that were learned are kept in a file, those that signed last at its end."""

    def __init__(self, file: Path, shared: KeySource | None = None) -> None:
        """Read the file. One that is damaged is set aside, and no key of it holds.

        `shared` has the keys of other replicas.
        """
        self._file = file
        self._shared = shared
        self._keys = self._kept()

    def learn(self, signer: GrantSigner, path: Path) -> None:
        """Remember the key that signs, and those that lie beside it: other replicas may sign with them."""
        known = dict(self._keys)
        for key_id, key in (*_beside(path), (signer.key_id, signer.public_key)):
            known.pop(key_id, None)  # so that it comes last
            known[key_id] = key
        self._keys = dict(list(known.items())[-_MOST_KEYS:])
        self._keep()

    async def find(self, key_id: str) -> PublicKey | None:
        """The key, or None if it is not known."""
        key = self._keys.get(key_id)
        return key if key is not None or self._shared is None else await self._shared.find(key_id)

    def look(self) -> None:
        """See to the shared ones; of the others, who watches the files says what it learns."""
        if self._shared is not None:
            self._shared.look()

    async def warm(self) -> None:
        """Have the shared ones there; the others were read."""
        if self._shared is not None:
            await self._shared.warm()

    @property
    def state(self) -> KeyState:
        """How many there are; they have no age."""
        return KeyState(len(self._keys), 0.0, None)

    def _kept(self) -> dict[str, PublicKey]:
        found = file_content(self._file)
        if found.content is None and found.problem is None:
            return {}
        try:
            if found.content is None:
                raise ValueError(found.problem)  # noqa: TRY301 (told as all others)
            keys = keys_by_id(found.content)
            wrong = next((key_id for key_id, key in keys.items() if key.thumbprint() != key_id), None)
            if wrong is not None:
                raise ValueError(f"key {wrong[:60]!r} is not the one of this id")  # noqa: TRY301
        except ValueError as error:
            aside = self._file.with_name(self._file.name + _DAMAGED)
            log.error(
                "grant keys of earlier runs cannot be read and do not hold: what their grants did is not taken down",
                file=str(self._file),
                reason=str(error),
                remedy=f"put the file back and restart; what there was goes to {aside.name}",
            )
            _set_aside(self._file, aside)
            return {}
        return keys

    def _keep(self) -> None:
        """Write the file anew, at once. Where that cannot be, they hold until the service ends."""
        entries = [key.as_dict(private=False) | {"kid": key_id} for key_id, key in self._keys.items()]
        try:
            # One name is enough: the audit log beside it is locked by this process.
            unfinished = self._file.with_name(f".{self._file.name}.unfinished")
            with unfinished.open("w") as file:
                os.fchmod(file.fileno(), _OWNER_ONLY)
                json.dump({"keys": entries}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._file)
            sync_folder(self._file.parent)
        except OSError as error:
            log.warning(
                "grant keys cannot be kept for the next run: uses told after a restart may be refused",
                file=str(self._file),
                error=error.strerror,
            )


def _set_aside(file: Path, aside: Path) -> None:
    try:
        file.replace(aside)
    except OSError as error:
        log.warning("a damaged file of grant keys stays where it is", file=str(file), error=error.strerror)


def _beside(path: Path) -> list[tuple[str, PublicKey]]:
    """The keys of a folder of private keys that can be read, by their ids."""
    found: list[tuple[str, PublicKey]] = []
    for file in sorted(path.glob(f"*{KEY_SUFFIX}")) if path.is_dir() else ():
        try:
            signer = GrantSigner.from_file(file)
        except ConfigurationError as complaint:
            log.info("a grant key that does not sign cannot be read", reason=str(complaint))
        else:
            found.append((signer.key_id, signer.public_key))
    return found
