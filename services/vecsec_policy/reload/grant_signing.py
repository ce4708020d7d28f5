"""Signs grants with a key that may be replaced while the service runs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from vecsec_chassis.auth.grants import GrantSigner
from vecsec_chassis.domain.access import Grant
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import Fingerprint, SettledChanges, files_fingerprint, folder_fingerprint
from vecsec_policy.reload.known_grant_keys import KEY_SUFFIX, KnownGrantKeys
from vecsec_policy.reload.report import ReloadedPart, ReloadReport, ReloadResult


class RotatingSigner:
    """Signs with the key of a file, or with that key of a folder whose file name sorts last; takes a new one as soon as
    its file has come to rest. A broken one leaves the last good key in force."""

    def __init__(self, path: Path, report: ReloadReport, keys: KnownGrantKeys) -> None:
        """Read the key; `keys` learns the public half of it, and of each that signs later.

        Raises:
            ConfigurationError: if there is none, or it is not a readable Ed25519 key.
        """
        self._path = path
        self._report = report
        self._files = SettledChanges(self._fingerprint)
        self._signer = grant_signer(path)
        self._keys = keys
        self._keys.learn(self._signer, path)
        self._listeners: list[Callable[[], object]] = []

    @property
    def keys(self) -> KnownGrantKeys:
        """The public halves of what signs or has signed, and of the other keys in the folder."""
        return self._keys

    def sign(self, grant: Grant) -> str:
        """The grant as a compact JWS."""
        return self._signer.sign(grant)

    def on_change(self, listener: Callable[[], object]) -> None:
        """Call this whenever another key signs."""
        self._listeners.append(listener)

    async def look(self) -> None:
        """Take a change that has come to rest."""
        change = await self._files.change()
        if change is None:
            return
        signer: GrantSigner | ConfigurationError
        try:
            signer = await asyncio.to_thread(grant_signer, self._path)
        except ConfigurationError as complaint:
            signer = complaint
        if not await self._files.settle(change):
            return
        if isinstance(signer, ConfigurationError):
            self._report.refused(ReloadedPart.GRANT_KEY, str(signer))
            return
        is_another = signer.key_id != self._signer.key_id
        result = ReloadResult.ADOPTED if is_another else ReloadResult.UNCHANGED
        self._signer = signer
        await asyncio.to_thread(self._keys.learn, signer, self._path)
        self._report.taken(ReloadedPart.GRANT_KEY, result, key_id=signer.key_id)
        for listener in self._listeners if is_another else ():
            listener()

    def _fingerprint(self) -> Fingerprint:
        if self._path.is_dir():
            return folder_fingerprint(self._path, (KEY_SUFFIX,))
        return files_fingerprint([self._path])


def grant_signer(path: Path) -> GrantSigner:
    """A signer with the key of a file, or of the last file of a folder.

    Raises:
        ConfigurationError: if there is none, or it is not a readable Ed25519 key.
    """
    if not path.is_dir():
        return GrantSigner.from_file(path)
    files = sorted(path.glob(f"*{KEY_SUFFIX}"))
    if not files:
        raise ConfigurationError(
            f"VECSEC_GRANT_KEY_FILE={path}: the folder holds no *{KEY_SUFFIX} file; put a private key there"
        )
    return GrantSigner.from_file(files[-1])
