"""The rollout file: YAML (or JSON) that names a candidate policy and says how far it has got.

It is tried in the shadow of the current one, or promoted.
"""

import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_policy.folder.positioned_yaml import Positioned, read_text

_TOP = frozenset({"candidate", "shadow", "promoted"})
_SHADOW = frozenset({"share", "tenants"})
_PROMOTED = frozenset({"tenants", "all"})
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


def read_rollout(path: Path) -> Rollout | None:
    """What the file says; None if there is no file, which means that nothing is being rolled out.

    Raises:
        ConfigurationError: in one line with file, line and reason.
    """
    if not path.exists():
        return None
    root = Positioned.parse(path, read_text(path))
    fields = root.fields("the rollout file", _TOP)
    if "candidate" not in fields:
        root.refuse("the rollout file lacks `candidate`, the folder of the candidate policy")
    share, shadow_tenants = _shadow(fields.get("shadow"))
    promoted_to_all, promoted_tenants = _promoted(fields.get("promoted"))
    return Rollout(
        candidate=path.parent / fields["candidate"].text("candidate"),
        shadow_share=share,
        shadow_tenants=shadow_tenants,
        promoted_tenants=promoted_tenants,
        promoted_to_all=promoted_to_all,
    )


def rollout_text(rollout: Rollout, folder: Path) -> str:
    """A rollout as the text of its file in a folder."""
    candidate = rollout.candidate
    is_below = candidate.absolute().is_relative_to(folder.absolute())
    path = candidate.absolute().relative_to(folder.absolute()) if is_below else candidate.absolute()
    document: dict[str, object] = {"candidate": str(path)}
    if rollout.shadow_share > 0:
        document["shadow"] = {"share": rollout.shadow_share, "tenants": sorted(rollout.shadow_tenants)}
    if rollout.decides:
        document["promoted"] = {"all": rollout.promoted_to_all, "tenants": sorted(rollout.promoted_tenants)}
    return json.dumps(document, indent=2) + "\n"


def _shadow(section: Positioned | None) -> tuple[float, frozenset[str]]:
    if section is None:
        return 0.0, frozenset()
    fields = section.fields("shadow", _SHADOW)
    tenants = _tenants(fields.get("tenants"), "shadow")
    share = fields["share"].number("share of shadow", 0, 1) if "share" in fields else 1.0
    if "share" not in fields and not tenants:
        section.refuse("shadow says for whom by `share` (0 to 1), `tenants` or both")
    return share, tenants


def _promoted(section: Positioned | None) -> tuple[bool, frozenset[str]]:
    if section is None:
        return False, frozenset()
    fields = section.fields("promoted", _PROMOTED)
    to_all = fields["all"].boolean("all of promoted") if "all" in fields else False
    return to_all, _tenants(fields.get("tenants"), "promoted")


def _tenants(section: Positioned | None, what: str) -> frozenset[str]:
    tenants = set()
    for item in section.items(f"tenants of {what}") if section is not None else ():
        tenant_id = item.text(f"a tenant of {what}")
        if not is_tenant_id(tenant_id):
            item.refuse(f"malformed tenant id {tenant_id!r}")
        tenants.add(tenant_id)
    return frozenset(tenants)


def _position(identity: Identity, tenant_id: str) -> float:
    """Where a caller stands between 0 and 1, evenly spread."""
    name = f"{identity.issuer}\0{identity.tenant_id}\0{identity.subject}\0{tenant_id}"
    return int.from_bytes(blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()) / _HASH_RANGE
