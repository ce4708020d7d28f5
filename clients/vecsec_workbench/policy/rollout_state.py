"""The rollout of a local installation: its rollout file, and the folders of candidate, current and previous policy.

What is rolled out is a copy, kept under its version, so that a folder in which somebody goes on writing decides for
nobody. The running policy service watches all of this; nothing here talks to it.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_cli.local import state_files
from vecsec_cli.local.service_settings import operator_settings
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_policy.in_force.rollout import Rollout, read_rollout, rollout_text
from vecsec_workbench.policy.folder import load


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Where everything of a rollout lies."""

    policy: Path
    previous: Path
    """What was the policy before the last promotion for all."""
    rolled_back: Path
    """What was the policy before the last rollback of such a promotion; no command brings it back by itself."""
    candidates: Path
    file: Path

    @classmethod
    def of(cls, state: StateDirectory) -> "RolloutState":
        """The places that `vecsec up` tells the policy service: the operator's settings go before the state directory.

        Raises:
            CommandFailure: if there is no installation.
        """
        settings = operator_settings()
        policy = Path(settings.get("VECSEC_POLICY_DIR") or state.policy)
        if not policy.is_dir():
            raise CommandFailure(
                f"{policy} is no policy folder, so there is nothing to roll out beside",
                hint="name an installation with --state-dir; `vecsec up` makes one",
                exit_code=ExitCode.NOT_FOUND,
            )
        file = Path(settings.get("VECSEC_POLICY_ROLLOUT_FILE") or state.rollout_file)
        previous, rolled_back = (policy.with_name(f"{policy.name}.{kept}") for kept in ("previous", "rolled-back"))
        # Beside the file, which names it relatively: the service may find both in another place, as in a container.
        candidates = file.parent / state.candidates.name
        return cls(policy, previous, rolled_back, candidates, file)

    def read(self) -> Rollout | None:
        """What is being rolled out; None if nothing is.

        Raises:
            CommandFailure: if the rollout file cannot be understood.
        """
        try:
            return read_rollout(self.file)
        except ConfigurationError as error:
            raise CommandFailure(str(error), hint="correct the file, or remove it: that ends the rollout") from error

    def begin(self, folder: Path, rollout: Rollout) -> Rollout:
        """Put a copy of a candidate beside the others and roll it out; who was promoted to the same stays so.

        Raises:
            CommandFailure: if the candidate is broken or does not list a tenant, or another one decides for somebody.
        """
        candidate, before = load(folder), self.read()
        target = self.candidates / candidate.version
        if before is not None and before.decides and before.candidate != target:
            raise CommandFailure(
                f"another candidate, {before.candidate.name[:12]}, decides already: {promoted_to(before)}",
                hint="finish it with `vecsec policy promote --all`, or take it back with `vecsec policy rollback`",
            )
        self._refuse_unknown(rollout, candidate.tenants)
        if not target.exists():
            state_files.copy_folder(folder, target)
        rollout = replace(rollout, candidate=target)
        if before is not None and before.candidate == target:
            rollout = replace(rollout, promoted_tenants=before.promoted_tenants, promoted_to_all=before.promoted_to_all)
        self.write(rollout)
        return rollout

    def promote(self, tenants: frozenset[str]) -> Rollout:
        """Let the candidate decide for these tenants too.

        Raises:
            CommandFailure: if there is none, it is broken, or it does not list a tenant.
        """
        rollout = self._required()
        rollout = replace(rollout, promoted_tenants=rollout.promoted_tenants | tenants)
        self._refuse_unknown(rollout, load(rollout.candidate).tenants)
        self.write(rollout)
        return rollout

    def adopt(self) -> str:
        """Make the candidate the policy, for all; what was the policy is kept. Returns the candidate's version.

        Raises:
            CommandFailure: if there is no candidate, or it is broken.
        """
        rollout = self._required()
        version = load(rollout.candidate).version
        following = self.policy.with_name(f"{self.policy.name}.next")
        shutil.rmtree(following, ignore_errors=True)
        state_files.copy_folder(rollout.candidate, following)
        shutil.rmtree(self.previous, ignore_errors=True)
        self._swap(following, self.previous)
        self.file.unlink()
        shutil.rmtree(self.candidates, ignore_errors=True)
        return version

    def roll_back(self) -> str:
        """End the rollout; or, if there is none, bring back what was the policy before the last promotion for all.
        Returns the version that decides for all from now on.

        Raises:
            CommandFailure: if there is nothing to go back to, or it is broken.
        """
        if self.file.exists():
            self.file.unlink()
            shutil.rmtree(self.candidates, ignore_errors=True)
            return load(self.policy).version
        if not self.previous.is_dir():
            raise CommandFailure(
                "no candidate is being rolled out, and no previous policy is kept: nothing to go back to",
                hint=f"what was rolled back lies in {self.rolled_back}" if self.rolled_back.is_dir() else "",
                exit_code=ExitCode.NOT_FOUND,
            )
        version = load(self.previous).version
        shutil.rmtree(self.rolled_back, ignore_errors=True)
        self._swap(self.previous, self.rolled_back)
        return version

    def write(self, rollout: Rollout) -> None:
        """Put a rollout in the place of what the file said, at once."""
        state_files.replace(self.file, rollout_text(rollout, self.file.parent).encode())

    def _swap(self, following: Path, kept: Path) -> None:
        """Between the two renames there is no policy folder, for an instant: the service waits until files rest."""
        self.policy.rename(kept)
        try:
            following.rename(self.policy)
        except OSError:
            kept.rename(self.policy)
            raise

    def _required(self) -> Rollout:
        rollout = self.read()
        if rollout is None:
            raise CommandFailure(
                "no candidate is being rolled out",
                hint="begin with `vecsec policy shadow DIR`",
                exit_code=ExitCode.NOT_FOUND,
            )
        return rollout

    def _refuse_unknown(self, rollout: Rollout, known: Mapping[str, object]) -> None:
        unknown = sorted(rollout.tenants - known.keys())
        if unknown:
            raise CommandFailure(f"the candidate's tenants file lists no tenant {unknown[0]!r}")


def promoted_to(rollout: Rollout) -> str:
    """For whom a candidate decides, in words."""
    if rollout.promoted_to_all:
        return "for all tenants"
    return f"for {', '.join(sorted(rollout.promoted_tenants))}" if rollout.promoted_tenants else "for nobody"
