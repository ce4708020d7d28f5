"""Which peers may call what, by the identity in their certificate: `spiffe://vecsec/gateway *=health`.

Entries stand between blanks. Each is an identity, exactly as the certificate says it (a URI or a DNS name; `*` for
every peer with a certificate of the authority), and may name methods after `=`, separated by commas; without them the
peer may call all. `health`, `reflection` and `lanes` are the services beside our own; what a lane carries has to be
allowed by itself.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

ANY_PEER = "*"
HEALTH = "health"
REFLECTION = "reflection"
LANES = "lanes"
GATEWAY_ONLY = "spiffe://vecsec/gateway *=health"
"""The setting's default behind the gateway: a probe learns no more than whether the service serves."""
GATEWAY_AND_REPORTS = "spiffe://vecsec/gateway spiffe://vecsec/retrieval=ReportForeignAccess *=health"
"""The same for the policy service, which retrieval tells what callers of other tenants did."""
GATEWAY_AND_SHARDS = "spiffe://vecsec/gateway spiffe://vecsec/retrieval=DescribeShard *=health"
"""Retrieval's: shards ask each other what they hold."""

_ALL_METHODS = frozenset({ANY_PEER})
_INFRASTRUCTURE = (("/grpc.health.", HEALTH), ("/grpc.reflection.", REFLECTION), ("/vecsec.lane.", LANES))


@dataclass(frozen=True, slots=True)
class AllowedPeers:
    """Who may call what; everybody else may call nothing."""

    methods: Mapping[str, frozenset[str]]
    """By identity."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the setting.

        Raises:
            ValueError: for an entry without identity or with an empty method.
        """
        methods: dict[str, frozenset[str]] = {}
        for entry in text.split():
            identity, has_methods, names = entry.partition("=")
            chosen = frozenset(names.split(",")) if has_methods else _ALL_METHODS
            if not identity or "" in chosen:
                raise ValueError(f"{entry!r} is neither `identity` nor `identity=Method,Method`")
            methods[identity] = methods.get(identity, frozenset()) | chosen
        return cls(methods)

    def unknown_methods(self, known: Collection[str]) -> list[str]:
        """The methods that no peer could ever call: misspelt ones."""
        named = {name for names in self.methods.values() for name in names}
        return sorted(named - {*known, ANY_PEER, HEALTH, REFLECTION, LANES})

    def may_call(self, identities: Collection[str], method: str) -> bool:
        """Whether a peer with these identities, of which it has proven all, may call a method by its short name."""
        granted = (self.methods.get(identity) for identity in (*identities, ANY_PEER))
        return any(names is not None and (ANY_PEER in names or method in names) for names in granted)


def short_name(method: str) -> str:
    """How the setting calls a method: `SearchDocuments`, `health`, `reflection` or `lanes`."""
    for prefix, name in _INFRASTRUCTURE:
        if method.startswith(prefix):
            return name
    return method.rpartition("/")[2]
