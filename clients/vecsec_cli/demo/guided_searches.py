"""The searches of the demonstration, and what each is to show."""

from dataclasses import dataclass

from vecsec_cli.demo.callers import DemoCaller
from vecsec_client import Sensitivity

_CAMPAIGN = "plans and budget of the spring campaign"
_JSON = "turn a JSON text into Python objects"


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
_ADMIN = DemoCaller("ada", "admin", "tenant_a", Sensitivity.SECRET)
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
    GuidedSearch(_ADMIN, "tenant_b", _CAMPAIGN, "An admin may read across tenants, but never write there."),
    GuidedSearch(
        _READER, "python_data", _JSON, "Thousands of documents: the guest still gets as many rows as it asked for."
    ),
    GuidedSearch(_DEVELOPER, "python_data", _JSON, "The same question with more clearance."),
)
