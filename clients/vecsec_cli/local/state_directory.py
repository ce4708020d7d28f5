"""Where everything of a local installation lies: `vecsec up` writes it, the other commands find it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The layout of a state directory (`--state-dir`, `VECSEC_STATE_DIR`, default `.vecsec`)."""

    root: Path

    @property
    def chroma(self) -> Path:
        """One folder a tenant: its cell."""
        return self.root / "chroma"

    @property
    def keys(self) -> Path:
        """Private keys and public key sets of the development issuer and of the grants."""
        return self.root / "keys"

    @property
    def grant_key(self) -> Path:
        """The key that signs grants (PEM); only the policy service reads it."""
        return self.keys / "grant.pem"

    @property
    def grant_jwks(self) -> Path:
        """The public half of `grant_key`, for the retrieval service."""
        return self.keys / "grant.jwks.json"

    @property
    def issuer_key(self) -> Path:
        """The key that signs development tokens (PEM)."""
        return self.keys / "issuer.pem"

    @property
    def issuer_jwks(self) -> Path:
        """The public half of `issuer_key`."""
        return self.keys / "issuer.jwks.json"

    @property
    def issuers_file(self) -> Path:
        """The issuers whose tokens gateway and policy accept."""
        return self.root / "issuers.json"

    @property
    def flags_file(self) -> Path:
        """The live flag, in flagd's format."""
        return self.root / "flags.json"

    @property
    def policy(self) -> Path:
        """The operator's copy of the rules."""
        return self.root / "policy"

    @property
    def candidates(self) -> Path:
        """Candidate policies, a folder a version, while they are rolled out."""
        return self.root / "candidates"

    @property
    def rollout_file(self) -> Path:
        """Names the candidate policy and says for whom it is tried or decides; absent if none is rolled out."""
        return self.root / "rollout.json"

    @property
    def audit_file(self) -> Path:
        """The policy service's record of decisions, one JSON object a line."""
        return self.root / "audit" / "policy.jsonl"

    @property
    def logs(self) -> Path:
        """One file a service."""
        return self.root / "logs"

    @property
    def imports(self) -> Path:
        """Journals of imports, by which a cut-off import goes on."""
        return self.root / "imports"

    @property
    def run_file(self) -> Path:
        """Addresses and process ids of a running `vecsec up`."""
        return self.root / "run.json"

    @property
    def lock_file(self) -> Path:
        """Held (flock) by the running `vecsec up`."""
        return self.root / "up.lock"
