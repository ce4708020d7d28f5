"""What a grant lets a call do here; the same checks for every use case."""

from vecsec_chassis.auth.grants import GrantVerifier
from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.errors import AccessDenied, CollectionNotFound, InvalidGrant, RealRetrievalOff
from vecsec_chassis.domain.identifiers import DEFAULT_COLLECTION_ID
from vecsec_chassis.flag.flag import RealRetrievalFlag
from vecsec_chassis.telemetry.tracing import Timed
from vecsec_retrieval.visibility.residuals import ResidualDecisions, Visibility

_RETRY_SECONDS = 5.0


class Permissions:
    """Verifies grants and holds calls to them."""

    def __init__(self, verifier: GrantVerifier, flag: RealRetrievalFlag, decisions: ResidualDecisions) -> None:
        self._verifier = verifier
        self._flag = flag
        self._decisions = decisions

    async def require(self, token: str, action: Action) -> Grant:
        """The verified grant.

        Raises:
            InvalidGrant: if it does not verify or is for another action.
        """
        with Timed("grant"):
            grant = await self._verifier.verify(token)
        if grant.action is not action:
            raise InvalidGrant(
                "the grant is for another action; plan access again", detail=f"{grant.action} instead of {action}"
            )
        return grant

    async def require_reading(self, token: str, *, embeddings: bool = False) -> Grant:
        """The verified grant to read rows.

        Raises:
            InvalidGrant: as `require` does.
            RealRetrievalOff: if the shared flag keeps this tenant's real rows inside.
            AccessDenied: if embeddings are wanted and the caller may not configure.
        """
        grant = await self.require(token, Action.READ)
        if not self._flag.is_on(grant.tenant_id):
            raise RealRetrievalOff("real vector retrieval is switched off", retry_after=_RETRY_SECONDS)
        if embeddings and not grant.may_configure:
            raise AccessDenied("embeddings are only for callers whose role may configure the tenant")
        return grant

    def visibility(self, grant: Grant) -> Visibility:
        """Which labels the grant sees."""
        return Visibility(self._decisions, grant)


def refuse_unseen(collection_id: str) -> None:
    """A caller sees nothing in this collection: the same answer whether it is absent, empty or hidden.

    Raises:
        CollectionNotFound: unless it is the default collection, which every tenant has, if only empty.
    """
    if collection_id != DEFAULT_COLLECTION_ID:
        raise CollectionNotFound(collection_id)
