"""What is done about a suspected leak, step by step."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

from vecsec_chassis.auth.claim_mapping import ClaimMapping
from vecsec_chassis.auth.claim_rules import UnusableClaims
from vecsec_chassis.auth.issuers_file import load_trusted_issuers
from vecsec_chassis.auth.signatures import BadSignedText, read
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import PermissionDenied, VecSecError
from vecsec_workbench.leak_response.evidence import EvidenceFolder, EvidenceScope, about, collect
from vecsec_workbench.leak_response.grant_probe import GrantProbe, GrantStatus, open_probe
from vecsec_workbench.leak_response.grant_revocation import public_members, revoke_grants
from vecsec_workbench.leak_response.installation_files import InstallationFiles
from vecsec_workbench.leak_response.kill_switch import KillSwitch
from vecsec_workbench.leak_response.steps import Step, StepReport, comes_true

_MOST_TRIED = 20
"""Of tenants that the operator's token may not enter: each try is a violation that is counted."""
_PROOF_SECONDS = 10.0


@dataclass
class LeakResponse:
    """One response: its steps, and what they learn for one another."""

    files: InstallationFiles
    tenants: Sequence[str]
    """Whose real answers are stopped; empty for all."""
    known_tenants: frozenset[str]
    """Those that the policy lists."""
    since: datetime | None
    """From when on audit records are evidence."""
    folder: Path
    """Where the evidence goes."""
    token: str
    reports: list[StepReport] = field(default_factory=list)
    """What became of the steps so far."""
    _before: dict[str, bytes] = field(default_factory=dict)
    _probe: GrantProbe | None = None
    _old_grant: str = ""
    _enterable: Sequence[str] = ()
    """Where all are stopped: a tenant that the operator's token gets into."""

    @property
    def tried_tenants(self) -> Sequence[str]:
        """In which the outcome is tried."""
        return self.tenants or self._enterable or sorted(self.known_tenants)[:1]

    def steps(self, stack: ExitStack) -> tuple[Step, ...]:
        """In their order: first what stops the leak. `stack` closes what they open."""
        files, whom = self.files, ", ".join(self.tenants) or "everybody"
        return (
            Step("stop real answers", f"switch real retrieval off for {whom} in {files.flags}", self._stop),
            Step(
                "revoke grants",
                f"sign with a new key in {files.grant_key}, and take all other public keys out of {files.grant_jwks}",
                lambda: self._revoke(stack),
            ),
            Step(
                "prove it",
                f"as a direct caller in {', '.join(self.tried_tenants) or 'some tenant'}: no real row, "
                "grants from before refused, fresh ones accepted",
                self._prove,
            ),
            Step(
                "collect evidence",
                f"into {self.folder}: records of {whom} from {files.audit}, its verification, {files.policy}, "
                "the flag, public keys, versions",
                self._collect,
            ),
        )

    def next_steps(self) -> Sequence[str]:
        """What people do next."""
        one = self.tenants[0] if self.tenants else "TENANT"
        back = [f"vecsec panic --release --tenant {one}"]
        if not self.tenants:
            back += ["vecsec panic --release --share 0.1", "vecsec panic --release --all"]
        return (
            f"Copy {self.folder} and the services' logs to another machine, and note the hash of its manifest.",
            "Compare the audit log with a head from those logs: vecsec audit verify --expect-head HASH",
            "Tokens stay valid. If callers' tokens may have leaked, have their issuer withdraw its key.",
            "Give the new grant key to other replicas of the policy service, if there are any.",
            f"When the cause is found and repaired: {', then '.join(back)}",
        )

    def _stop(self) -> str:
        for name, path in (
            ("flags.before.json", self.files.flags),
            ("grant-keys.before", Path(self.files.grant_jwks)),
        ):
            if path.is_file():
                self._before[name] = path.read_bytes()
        return KillSwitch(self.files.flags, self.files.marker).throw(self.tenants)

    def _revoke(self, stack: ExitStack) -> str:
        complaint = ""
        try:
            self._probe = stack.enter_context(open_probe(self.files, self.token))
            if not self.tenants:
                self._enterable = _enterable(
                    self._probe, _own_first(self.token, self.files.issuers, self.known_tenants)
                )
            self._old_grant = self._probe.grant(self._tenant_to_try())
        except CommandFailure as failure:
            complaint = failure.message
        except VecSecError as error:
            complaint = f"{error.code.name} {error.reason}"
        probe = self._probe

        signs_with = (
            partial(probe.signing_key, self._tenant_to_try()) if probe is not None and self._old_grant else None
        )
        done = revoke_grants(self.files.grant_key, self.files.grant_jwks, signs_with)
        told = f"{len(done.withdrawn)} keys withdrawn; {done.key_id} signs"
        if done.is_adopted:
            return told
        raise CommandFailure(
            f"{told}, but no grant by it was seen{f' ({complaint})' if complaint else ''}",
            hint="see whether the policy service runs and takes it; under systemd: systemctl restart vecsec-policy",
        )

    def _prove(self) -> str:
        probe = self._probe
        if probe is None:
            raise CommandFailure("nobody could be asked: see the step before")
        for tenant in self.tried_tenants:
            _until(partial(probe.is_off, tenant), f"real rows of {tenant} still leave retrieval")
        if self._old_grant:
            _until(
                lambda: probe.status(self._old_grant) is GrantStatus.REFUSED,
                "retrieval was not seen to refuse a grant from before",
            )
        _until(
            lambda: probe.status(probe.grant(self._tenant_to_try())) is GrantStatus.ACCEPTED,
            "retrieval was not seen to accept a fresh grant",
        )
        old = "a grant from before is refused" if self._old_grant else "there was no grant from before to try"
        return f"no real row of {', '.join(self.tried_tenants)} for a direct caller; {old}; a fresh one is accepted"

    def _collect(self) -> str:
        folder = EvidenceFolder(self.folder)
        for name, content in self._before.items():
            if name.startswith("grant-keys"):
                folder.add_json(f"{name}.json", public_members(content))
            else:
                folder.add(name, content)
        if self.files.flags.is_file():
            folder.add("flags.after.json", self.files.flags.read_bytes())
        scope = EvidenceScope(self.tenants, self.since)
        count, lacking = collect(folder, self.files, scope)
        folder.add_json("steps.json", [each.as_json() for each in self.reports])
        digest = folder.finish(**about(scope), lacking=list(lacking))
        told = f"{count:,} records and more in {self.folder}; its manifest has SHA-256 {digest}"
        if lacking:
            raise CommandFailure(f"{told}; lacking: {'; '.join(lacking)}", hint="collect by hand what is lacking")
        return told

    def _tenant_to_try(self) -> str:
        if not self.tried_tenants:
            raise CommandFailure("the policy lists no tenant to try it in")
        return self.tried_tenants[0]


def _until(is_so: Callable[[], bool], complaint: str) -> None:
    """Wait for something that takes effect within a second or so.

    Raises:
        CommandFailure: with the complaint, if it does not.
        VecSecError: if it cannot be found out.
    """
    if not comes_true(is_so, _PROOF_SECONDS):
        raise CommandFailure(complaint, hint="stop the retrieval service until this is understood")


def _own_first(token: str, issuers: Path, tenants: Iterable[str]) -> Sequence[str]:
    """The tenants, that of the token first."""
    own = tenant_of_token(token, issuers)
    return sorted(tenants, key=lambda tenant: (tenant != own, tenant))


def tenant_of_token(token: str, issuers: Path) -> str | None:
    """The tenant that a token is of, as its issuer's mapping reads it, from the claim of our own name where that cannot
    be had; None if it is of none. It is only looked at: whether it holds is the services' to say."""
    try:
        claims = read(token).claims
    except BadSignedText:
        return None
    mapping = ClaimMapping()
    try:
        mapping = next(
            (each.mapping for each in load_trusted_issuers(issuers) if each.issuer == claims.get("iss")), mapping
        )
        return mapping.read_tenant(claims)
    except (ConfigurationError, UnusableClaims):
        own = claims.get("tenant_id")
        return own if isinstance(own, str) else None


def _enterable(probe: GrantProbe, tenants: Iterable[str]) -> Sequence[str]:
    """The first tenant that the operator may enter: nobody enters all of them, unless the policy says so.

    Raises:
        VecSecError: if that cannot be found out.
    """
    for tenant in islice(tenants, _MOST_TRIED):
        try:
            probe.grant(tenant)
        except PermissionDenied:
            continue
        return [tenant]
    return ()
