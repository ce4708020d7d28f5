"""Where the files of an installation lie that a leak response changes or collects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_cli.local.service_settings import operator_settings
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_policy.in_force.snapshot import load_snapshot


@dataclass(frozen=True, slots=True)
class InstallationFiles:
    """The files, by the operator's settings or else in the state directory, as `vecsec up` has them."""

    state: StateDirectory
    settings: Mapping[str, str]
    """The environment, over `.env`."""
    flags: Path
    grant_key: Path
    """A file, or a folder of them."""
    grant_jwks: str
    """A file, or a URL."""
    audit: Path
    policy: Path
    rollout: Path
    issuers: Path

    @classmethod
    def of(cls, state: StateDirectory) -> "InstallationFiles":
        """The files of the installation that this shell is set for."""
        settings = operator_settings()

        def path(name: str, otherwise: Path) -> Path:
            return Path(settings.get(name) or otherwise)

        return cls(
            state=state,
            settings=settings,
            flags=path("VECSEC_FLAG_FILE", state.flags_file),
            grant_key=path("VECSEC_GRANT_KEY_FILE", state.grant_key),
            grant_jwks=settings.get("VECSEC_GRANT_JWKS") or str(state.grant_jwks),
            audit=path("VECSEC_AUDIT_FILE", state.audit_file),
            policy=path("VECSEC_POLICY_DIR", state.policy),
            rollout=path("VECSEC_POLICY_ROLLOUT_FILE", state.rollout_file),
            issuers=path("VECSEC_ISSUERS_FILE", state.issuers_file),
        )

    @property
    def candidates(self) -> Path:
        """Candidate policies, beside the rollout file."""
        return self.rollout.parent / self.state.candidates.name

    @property
    def marker(self) -> Path:
        """Remembers, from `panic --all` until `panic --release --all`, what was off before."""
        return self.state.root / "panic.json"

    def evidence_folder(self, tenants: Sequence[str]) -> Path:
        """A new folder for evidence about these tenants; about all if none is named."""
        whom = "all" if not tenants else tenants[0] if len(tenants) == 1 else f"{len(tenants)}-tenants"
        return self.state.root / "evidence" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{whom}"

    def require_installation(self) -> None:
        """Refuse to set a flag that nobody reads.

        Raises:
            CommandFailure: if nothing of an installation is here.
        """
        if not (self.flags.exists() or self.grant_key.exists() or self.audit.exists()):
            raise CommandFailure(
                f"{self.state.root} holds no installation: neither {self.flags} nor {self.grant_key} is there",
                hint="name it with --state-dir or VECSEC_STATE_DIR; for Kubernetes see `vecsec panic --kubernetes`",
            )

    def known_tenants(self) -> frozenset[str]:
        """The tenants that the policy lists; none if it cannot be read here, which must not stop a leak response."""
        try:
            return frozenset(load_snapshot(self.policy).tenants)
        except ConfigurationError:
            return frozenset()
