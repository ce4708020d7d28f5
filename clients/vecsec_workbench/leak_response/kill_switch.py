"""The flag as a kill switch: off at once for some or all, and on again by and by."""

import hashlib
import json
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from vecsec_cli.local import state_files
from vecsec_cli.local.flag_file import FlagSetting, setting_before_change, write_setting
from vecsec_cli.terminal.failures import CommandFailure

_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """Switches real retrieval by the flag file."""

    flags: Path
    marker: Path
    """Which tenants were off before everything was switched off, for those stay off when all the others come back."""

    def throw(self, tenants: Collection[str]) -> str:
        """Switch real retrieval off for these tenants, or for all if none is named; says what was done.

        A file that cannot be understood is put aside where all are meant: nothing may stand in the way of that.

        Raises:
            CommandFailure: if only some are meant and the file cannot be understood.
            OSError: if it cannot be written.
        """
        aside = ""
        try:
            before = setting_before_change(self.flags)
        except CommandFailure:
            if tenants:
                raise
            kept = self.flags.with_name(f"{self.flags.name}.{time.strftime(_STAMP, time.gmtime())}")
            self.flags.rename(kept)
            before, aside = FlagSetting(default=True), f"; what it held could not be understood and is kept in {kept}"
        if not tenants:
            self._remember(before)
            write_setting(self.flags, FlagSetting(default=False))
            return f"real retrieval is off for everybody in {self.flags}{aside}"
        write_setting(self.flags, before.with_tenants(tenants, False))
        return f"real retrieval is off for {', '.join(sorted(tenants))} in {self.flags}"

    def release_tenants(self, tenants: Collection[str]) -> FlagSetting:
        """Switch real retrieval on for these tenants; the setting afterwards.

        Raises:
            CommandFailure: if the file cannot be understood.
        """
        after = self._current().with_tenants(tenants, True)
        write_setting(self.flags, after)
        return after

    def release_share(self, share: float, tenants: Collection[str]) -> tuple[Sequence[str], FlagSetting]:
        """Switch it on for a share of these tenants, always the same ones first; who is on now, and the setting.

        Raises:
            CommandFailure: if it is on for whoever is not named, or the file cannot be understood.
        """
        if self._current().default:
            raise CommandFailure(
                "real retrieval is not off for everybody, so there is no share to switch on",
                hint="name the tenants: vecsec panic --release --tenant TENANT",
            )
        candidates = sorted(set(tenants) - self._off_before(), key=_release_order)
        chosen = candidates[: math.ceil(share * len(candidates))]
        return chosen, self.release_tenants(chosen)

    def release_all(self) -> FlagSetting:
        """Switch it on for all but those who were off by name before the panic; the setting afterwards.

        Raises:
            CommandFailure: if the file cannot be understood.
        """
        self._current()
        after = FlagSetting(default=True).with_tenants(self._off_before(), False)
        write_setting(self.flags, after)
        self.marker.unlink(missing_ok=True)
        return after

    def _current(self) -> FlagSetting:
        return setting_before_change(self.flags)

    def _remember(self, before: FlagSetting) -> None:
        """Once: a second panic must not take the first one's work for what was before."""
        off = sorted(name for name, is_on in before.tenants.items() if not is_on)
        state_files.create(self.marker, (json.dumps({"off_before": off}) + "\n").encode(), mode=0o600)

    def _off_before(self) -> set[str]:
        try:
            return set(json.loads(self.marker.read_bytes())["off_before"])
        except FileNotFoundError:
            return set()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandFailure(
                f"{self.marker} cannot be read: {error!r}",
                hint="it names tenants that were off before the panic; remove it if there was none",
            ) from error


def _release_order(tenant_id: str) -> str:
    """Not alphabetical, lest it always be the same customers who go first."""
    return hashlib.sha256(tenant_id.encode()).hexdigest()
