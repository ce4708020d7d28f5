"""Takes changed policy files and rollout files while the service runs. What is wrong with them changes nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import POLL_SECONDS, Fingerprint, SettledChanges, files_fingerprint, folder_fingerprint
from vecsec_chassis.rpc.server import Health
from vecsec_policy.folder.policy_source import POLICY_SUFFIXES, folder_version
from vecsec_policy.in_force.rollout import Rollout, read_rollout
from vecsec_policy.in_force.snapshot import Candidate, PolicyAssignment, PolicyInForce, PolicySnapshot, load_snapshot
from vecsec_policy.reload.candidate_check import CheckInconclusive, check_in_worker
from vecsec_policy.reload.recent_plans import RecentPlans
from vecsec_policy.reload.report import ReloadedPart, ReloadReport, ReloadResult

_REST_BEFORE_A_CHECK_SECONDS = 0.1
_EMPTIED_AT_ONCE = 1_000
"""About 2 ms."""
_PAUSE_SECONDS = 0.005
_SECONDS_UNTIL_RETRY = 30.0

Guard = Callable[[PolicySnapshot], None]
"""Raises ConfigurationError where a policy, correct in itself, must not replace the one in force."""


def first_snapshot(folder: Path) -> PolicySnapshot:
    """The policy at the start, when there is no last good one.

    Raises:
        ConfigurationError: naming the setting, and file and line of what is wrong.
    """
    try:
        return load_snapshot(folder)
    except ConfigurationError as complaint:
        raise ConfigurationError(
            f"VECSEC_POLICY_DIR: {complaint}; correct it: `vecsec policy check {folder}` lists all that is wrong"
        ) from complaint


def first_rollout(path: Path) -> Rollout | None:
    """What is rolled out at the start; None if there is no file.

    Raises:
        ConfigurationError: naming the setting, and file and line of what is wrong.
    """
    try:
        return read_rollout(path)
    except ConfigurationError as complaint:
        raise ConfigurationError(f"VECSEC_POLICY_ROLLOUT_FILE: {complaint}; correct it, or take it away") from complaint


class _RetryLater:
    """Has files looked at again after some time, though nothing changed, where a check came to no verdict."""

    def __init__(self) -> None:
        self._at: float | None = None

    def retry_after(self, error: ConfigurationError) -> None:
        """Files were refused for this."""
        if isinstance(error, CheckInconclusive):
            self._at = time.monotonic() + _SECONDS_UNTIL_RETRY

    def retry_when_due(self, files: SettledChanges[Fingerprint]) -> None:
        """Have the files looked at again, if it is time."""
        if self._at is not None and time.monotonic() >= self._at:
            self._at = None
            files.forget()


class WatchedPolicy:
    """The policy folder: the last version of it that could be taken."""

    def __init__(self, folder: Path, report: ReloadReport, recent: RecentPlans) -> None:
        """Read the folder. What was planned of `recent` is planned by a change before it is in force.

        Raises:
            ConfigurationError: if it holds no correct policy.
        """
        self._folder = folder
        self._report = report
        self._recent = recent
        self._files = SettledChanges(
            lambda: folder_fingerprint(folder, POLICY_SUFFIXES), rest_seconds=_REST_BEFORE_A_CHECK_SECONDS
        )
        self._second_thoughts = _RetryLater()
        self.policy = first_snapshot(folder)

    async def look(self, guard: Guard, candidate: PolicySnapshot | None) -> bool:
        """Take a change that has come to rest; whether another version is in force."""
        self._second_thoughts.retry_when_due(self._files)
        change = await self._files.change()
        if change is None:
            return False
        complaint, policy = "", self.policy
        try:
            policy = await self._read(candidate)
            if policy.version != self.policy.version:
                guard(policy)
        except ConfigurationError as error:
            complaint = str(error)
            self._second_thoughts.retry_after(error)
        if not await self._files.settle(change):
            return False
        if complaint:
            self._report.refused(ReloadedPart.POLICY, complaint)
            return False
        if policy.version == self.policy.version:
            self._report.taken(ReloadedPart.POLICY, ReloadResult.UNCHANGED)
            return False
        self.policy = policy
        self._report.taken(ReloadedPart.POLICY, ReloadResult.ADOPTED, policy_version=policy.version)
        return True

    async def _read(self, candidate: PolicySnapshot | None) -> PolicySnapshot:
        """A version that is known is not tried again: so a candidate that becomes the policy cannot fail at that."""
        version = await asyncio.to_thread(folder_version, self._folder)
        for known in (self.policy, candidate):
            if known is not None and known.version == version:
                return known
        return await check_in_worker(self._folder, self._recent.latest())


class WatchedRollout:
    """The rollout file and the candidate's folder: the last state of both that could be taken.

    A candidate that breaks is left as it was. A rollout file that names another, broken candidate is refused as a
    whole, so that tenants keep what decides for them.
    """

    def __init__(self, path: Path | None, report: ReloadReport, recent: RecentPlans) -> None:
        """Read the file and load the candidate; `recent` as above.

        Raises:
            ConfigurationError: if the file is wrong; if the candidate is and decides for anybody, for whom the current
                policy must not silently decide instead. A broken candidate in the shadow does not keep from starting.
        """
        self._path = path
        self._report = report
        self._recent = recent
        self.candidate: Candidate | None = None
        rollout = None if path is None else first_rollout(path)
        self._named = None if rollout is None else rollout.candidate
        self._files = SettledChanges(self._fingerprint)
        self._second_thoughts = _RetryLater()
        if rollout is not None:
            try:
                self._adopt(rollout, load_snapshot(rollout.candidate))
            except ConfigurationError as complaint:
                if rollout.decides:
                    raise ConfigurationError(
                        f"{path}: the candidate that decides cannot be used: {complaint}"
                    ) from complaint
                report.refused(ReloadedPart.CANDIDATE, str(complaint))

    async def look(self, guard: Guard) -> bool:
        """Take a change that has come to rest; whether another assignment is in force."""
        self._second_thoughts.retry_when_due(self._files)
        change = await self._files.change() if self._path is not None else None
        if change is None or self._path is None:
            return False
        before = self.candidate
        try:
            rollout = await asyncio.to_thread(read_rollout, self._path)
        except ConfigurationError as complaint:
            if await self._files.settle(change):
                self._report.refused(ReloadedPart.ROLLOUT, str(complaint))
            return False
        if rollout is not None and rollout.candidate != self._named:
            self._named = rollout.candidate  # now its folder is looked at too, and has to come to rest
            return False
        await self._take(rollout, change, guard)
        return self.candidate is not before

    async def _take(self, rollout: Rollout | None, change: Fingerprint, guard: Guard) -> None:
        if rollout is None:
            if await self._files.settle(change):
                self._named = self.candidate = None
                for part in (ReloadedPart.ROLLOUT, ReloadedPart.CANDIDATE):
                    self._report.taken(part, ReloadResult.ADOPTED)
            return
        complaint, policy = "", None
        try:
            policy = await check_in_worker(rollout.candidate, self._recent.latest())
            guard(policy)
        except ConfigurationError as error:
            complaint = str(error)
            self._second_thoughts.retry_after(error)
        if not await self._files.settle(change):
            return
        if complaint or policy is None:
            self._report.refused(ReloadedPart.CANDIDATE, complaint)
            policy = self._last_good(rollout)
        else:
            self._report.taken(ReloadedPart.CANDIDATE, ReloadResult.ADOPTED, policy_version=policy.version)
        if policy is None:
            return
        try:
            self._adopt(rollout, policy)
        except ConfigurationError as error:
            self._report.refused(ReloadedPart.ROLLOUT, str(error))
        else:
            self._report.taken(ReloadedPart.ROLLOUT, ReloadResult.ADOPTED, policy_version=policy.version)

    def _last_good(self, rollout: Rollout) -> PolicySnapshot | None:
        """What the same folder held before it broke."""
        before = self.candidate
        return before.policy if before is not None and before.rollout.candidate == rollout.candidate else None

    def _adopt(self, rollout: Rollout, policy: PolicySnapshot) -> None:
        unknown = sorted(tenant for tenant in rollout.tenants if tenant not in policy.tenants)
        if unknown:
            raise ConfigurationError(f"{self._path}: the candidate's tenants file lists no tenant {unknown[0]!r}")
        self.candidate = Candidate(policy, rollout)

    def _fingerprint(self) -> Fingerprint:
        own = files_fingerprint([self._path]) if self._path is not None else ()
        return own + (folder_fingerprint(self._named, POLICY_SUFFIXES) if self._named is not None else ())


class PolicyReload:
    """Keeps the policy in force up to date with its files."""

    def __init__(self, policy: WatchedPolicy, rollout: WatchedRollout, guard: Guard) -> None:
        self._policy = policy
        self._rollout = rollout
        self._guard = guard
        self.in_force = PolicyInForce(self._assignment())

    async def look(self) -> None:
        """Look at the files once, and put in force what could be taken."""
        candidate = self._rollout.candidate
        changed = await self._policy.look(self._guard, None if candidate is None else candidate.policy)
        if await self._rollout.look(self._guard) or changed:
            for outdated in self.in_force.adopt(self._assignment()):
                await _discard_in_pieces(outdated)

    def _assignment(self) -> PolicyAssignment:
        return PolicyAssignment(self._policy.policy, self._rollout.candidate)


async def _discard_in_pieces(outdated: MutableMapping[Any, Any]) -> None:
    """Let go of many entries without keeping a request waiting."""
    while outdated:
        for _ in range(min(_EMPTIED_AT_ONCE, len(outdated))):
            outdated.popitem()
        await asyncio.sleep(_PAUSE_SECONDS)


async def watch_files(looks: Sequence[Callable[[], Awaitable[None]]], report: ReloadReport, health: Health) -> None:
    """Look at all watched files for ever."""
    while True:
        await report.show(health)
        await asyncio.sleep(POLL_SECONDS)
        for look in looks:
            await look()
