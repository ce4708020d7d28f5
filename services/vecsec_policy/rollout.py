"""How far a candidate policy has got: tried in the shadow of the current one, or promoted."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from vecsec_chassis.access import Identity

_HASH_RANGE = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What a rollout file says. Tenants are those whose rows are asked for, not the callers'."""

    candidate: Path
    """The folder of the candidate policy."""
    shadow_share: float = 0.0
    """Which share of the callers, 0 to 1, is decided by the candidate too, without effect."""
    shadow_tenants: AbstractSet[str] = frozenset()
    """Only calls for these tenants are; none named means all."""
    promoted_tenants: AbstractSet[str] = frozenset()
    """For these the candidate decides."""
    promoted_to_all: bool = False

    def promotes(self, tenant_id: str) -> bool:
        """Whether the candidate decides for this tenant."""
        return self.promoted_to_all or tenant_id in self.promoted_tenants

    def shadows(self, tenant_id: str, identity: Identity) -> bool:
        """Whether a call is decided by the candidate too. A caller is in or out for as long as the candidate's folder
        stays the same, whichever replica is asked."""
        share = self.share_of(tenant_id)
        return share > 0 and _position(identity, tenant_id) < share

    def share_of(self, tenant_id: str) -> float:
        """Which share of the callers who ask for this tenant is in the shadow."""
        is_meant = not self.shadow_tenants or tenant_id in self.shadow_tenants
        return self.shadow_share if is_meant and not self.promotes(tenant_id) else 0.0

    @property
    def tenants(self) -> AbstractSet[str]:
        """All tenants that it names."""
        return self.shadow_tenants | self.promoted_tenants

    @property
    def decides(self) -> bool:
        """Whether the candidate decides for anybody."""
        return self.promoted_to_all or bool(self.promoted_tenants)


def _position(identity: Identity, tenant_id: str) -> float:
    """Where a caller stands between 0 and 1, evenly spread."""
    name = f"{identity.issuer}\0{identity.tenant_id}\0{identity.subject}\0{tenant_id}"
    return int.from_bytes(blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()) / _HASH_RANGE
