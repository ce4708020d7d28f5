"""The callers of the demonstration, each with a token of the development issuer."""

from dataclasses import dataclass

from vecsec_cli.local import development_issuer
from vecsec_cli.local.service_channels import root_certificates
from vecsec_cli.local.service_settings import operator_settings
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_client import AsyncVecSecClient, Sensitivity

_LIFETIME_SECONDS = 900


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
        return AsyncVecSecClient(
            address,
            token=lambda: self._token(state),
            default_tenant=self.tenant_id,
            root_certificates=root_certificates(operator_settings()),
        )

    def _token(self, state: StateDirectory) -> str:
        return development_issuer.mint_token(
            state,
            subject=self.subject,
            tenant_id=self.tenant_id,
            role=self.role,
            clearance=self.clearance.value,
            lifetime_seconds=_LIFETIME_SECONDS,
        )


def administrator(tenant_id: str) -> DemoCaller:
    """Who imports a tenant's corpus, and sees all of it."""
    return DemoCaller("ada", "admin", tenant_id, Sensitivity.SECRET)
