"""Where everything of a local installation lies: `vecsec up` writes it, the other commands find it."""

from dataclasses import dataclass
from pathlib import Path


class _Below:
    """A path below the root."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, state: "StateDirectory", _owner: type) -> Path:
        return state.root.joinpath(*self._parts)


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The layout of a state directory (`--state-dir`, `VECSEC_STATE_DIR`, default `.vecsec`)."""

    root: Path

    chroma = _Below("chroma")
    """One folder a tenant: its cell."""
    keys = _Below("keys")
    """Private keys and public key sets of the development issuer and of the grants."""
    grant_key = _Below("keys", "grant.pem")
    """The key that signs grants (PEM); only the policy service reads it."""
    grant_jwks = _Below("keys", "grant.jwks.json")
    """The public half of `grant_key`, for the retrieval service."""
    issuer_key = _Below("keys", "issuer.pem")
    """The key that signs development tokens (PEM)."""
    issuer_jwks = _Below("keys", "issuer.jwks.json")
    """The public half of `issuer_key`."""
    issuers_file = _Below("issuers.json")
    """The issuers whose tokens gateway and policy accept."""
    flags_file = _Below("flags.json")
    """The live flag, in flagd's format."""
    policy = _Below("policy")
    """The operator's copy of the rules."""
    candidates = _Below("candidates")
    """Candidate policies, a folder a version, while they are rolled out."""
    rollout_file = _Below("rollout.json")
    """Names the candidate policy and says for whom it is tried or decides; absent if none is rolled out."""
    audit_file = _Below("audit", "policy.jsonl")
    """The policy service's record of decisions, one JSON object a line."""
    logs = _Below("logs")
    """One file a service."""
    imports = _Below("imports")
    """Journals of imports, by which a cut-off import goes on."""
    placement_file = _Below("placement.yaml")
    """Which shards of retrieval there are, if there are several, in JSON, which is YAML."""
    shards = _Below("shards")
    """The stores of further shards, a folder each."""
    stores_file = _Below("stores.json")
    """Paths of embedded stores that were started with, and their ids."""
    run_file = _Below("run.json")
    """Addresses and process ids of a running `vecsec up`."""
    lock_file = _Below("up.lock")
    """Held (flock) by the running `vecsec up`."""
