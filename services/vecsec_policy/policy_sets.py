"""Policy sets in Cedar's JSON format, made of what decides on one type of resource."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

_KEPT_ANNOTATIONS = ("violation",)
"""A residual carries it. Descriptions are for people, who get them from the rules."""
_ANYTHING = {"op": "All"}


def policies_about(resource_type: str, policies: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The policies whose scope (`resource is ...`) does not rule out this type of resource. The others never apply to
    it, and leaving them out saves a third of the time. In those that stay, the scope says nothing that is not known."""
    applicable = {
        policy_id: _without_what_is_known(resource_type, policy)
        for policy_id, policy in policies.items()
        if policy["resource"].get("entity_type", resource_type) == resource_type
    }
    return {"staticPolicies": applicable, "templates": {}, "templateLinks": []}


def in_slices(policy_set: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """The same policies as several sets of at most `size`."""
    policies = iter(policy_set["staticPolicies"].items())
    while some := dict(islice(policies, size)):
        yield {**policy_set, "staticPolicies": some}


def _without_what_is_known(resource_type: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    annotations = policy.get("annotations", {})
    is_known = policy["resource"] == {"op": "is", "entity_type": resource_type}
    return {
        **policy,
        "resource": _ANYTHING if is_known else policy["resource"],
        "annotations": {name: annotations[name] for name in _KEPT_ANNOTATIONS if name in annotations},
    }
