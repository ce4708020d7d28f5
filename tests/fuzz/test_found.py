"""What the fuzz once found, to stay found."""

from fuzz.case import Ask, case_of
from fuzz.walls import differences


async def test_a_rule_that_fails_behind_a_caller_s_attribute_refuses_at_both_walls() -> None:
    """Seed 340376281: retrieval took the caller for one without attributes, and never came to what fails."""
    rule = (
        "forbid (principal is Caller, action, resource is Document) when { (resource has until && "
        "resource.until.isEmpty()) || (principal has grade && principal.grade * 2 - 1 > context.today) };"
    )
    asks = [
        Ask(
            subject="alice",
            tenant="tenant_a",
            role="analyst",
            clearance=2,
            target="tenant_a",
            action="read",
            today=20260131,
            groups=(),
            attributes=(("grade", 2**63 - 1),),
        )
    ]
    assert not await differences(
        case_of(
            declared=(("until", "Set<String>"),),
            rules=["permit (principal, action, resource) when { true };", rule],
            asks=asks,
            labels=['{"sensitivity":1,"tenant_id":"tenant_a"}'],
            with_packaged_rules=False,
        )
    )
