"""The searches of the demonstration: who makes them, with a token of the development issuer, and what each shows."""

from dataclasses import dataclass
from functools import partial

from vecsec_cli.local import development_issuer
from vecsec_cli.local.service_channels import root_certificates
from vecsec_cli.local.service_settings import operator_settings
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_client import AsyncVecSecClient, Sensitivity

_LIFETIME_SECONDS = 900
_CAMPAIGN = "plans and budget of the spring campaign"
_JSON = "turn a JSON text into Python objects"


@dataclass(frozen=True, slots=True)
class DemoCaller:
    """Somebody who searches."""

    subject: str
    role: str
    tenant_id: str
    clearance: Sensitivity

    def __str__(self) -> str:
        return f"{self.subject}, {self.role} of {self.tenant_id} (cleared for {self.clearance})"

    def connect(self, state: StateDirectory, address: str) -> AsyncVecSecClient:
        """A client that calls as this caller."""
        token = partial(
            development_issuer.mint_token,
            state,
            subject=self.subject,
            tenant_id=self.tenant_id,
            role=self.role,
            clearance=self.clearance.value,
            lifetime_seconds=_LIFETIME_SECONDS,
        )
        authority = root_certificates(operator_settings())
        return AsyncVecSecClient(address, token=token, default_tenant=self.tenant_id, root_certificates=authority)


def administrator(tenant_id: str) -> DemoCaller:
    """Who imports a tenant's corpus, and sees all of it."""
    return DemoCaller("ada", "admin", tenant_id, Sensitivity.SECRET)


@dataclass(frozen=True, slots=True)
class GuidedSearch:
    """One search, by one caller, in one tenant."""

    caller: DemoCaller
    tenant_id: str
    query: str
    lesson: str


_GUEST = DemoCaller("gus", "guest", "tenant_a", Sensitivity.PUBLIC)
_ANALYST = DemoCaller("alice", "analyst", "tenant_a", Sensitivity.INTERNAL)
_SUPERUSER = DemoCaller("sam", "superuser", "tenant_a", Sensitivity.CONFIDENTIAL)
_ADMIN = administrator("tenant_a")
_OTHER_ANALYST = DemoCaller("bob", "analyst", "tenant_b", Sensitivity.INTERNAL)
_DEVELOPER = DemoCaller("dana", "analyst", "python_data", Sensitivity.INTERNAL)
_READER = DemoCaller("gita", "guest", "python_data", Sensitivity.PUBLIC)

GUIDED_SEARCHES = (
    GuidedSearch(_GUEST, "tenant_a", _CAMPAIGN, "A guest sees what is public, however well the rest would match."),
    GuidedSearch(
        _ANALYST,
        "tenant_a",
        _CAMPAIGN,
        "An analyst sees internal rows too, but none with a topic outside the tenant's scope.",
    ),
    GuidedSearch(_SUPERUSER, "tenant_a", _CAMPAIGN, "A superuser is not bound by the topic scope, only by clearance."),
    GuidedSearch(
        _ADMIN, "tenant_a", _CAMPAIGN, "The tenant's admin sees all of it: the other tables compare with this."
    ),
    GuidedSearch(
        _OTHER_ANALYST, "tenant_b", _CAMPAIGN, "The same question in the other tenant: not one row in common."
    ),
    GuidedSearch(
        _ANALYST, "tenant_b", _CAMPAIGN, "An analyst who asks for another tenant's rows is refused, and counted."
    ),
    GuidedSearch(
        _ADMIN, "tenant_b", _CAMPAIGN, "So is an admin: nobody reads across tenants unless roles.yaml says so."
    ),
    GuidedSearch(
        _READER, "python_data", _JSON, "Thousands of documents: the guest still gets as many rows as it asked for."
    ),
    GuidedSearch(_DEVELOPER, "python_data", _JSON, "The same question with more clearance."),
)
