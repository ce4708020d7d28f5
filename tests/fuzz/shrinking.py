"""Makes of a case on which not all agree a small one."""

from fuzz.case import Case
from fuzz.walls import Difference, differences
from vecsec_chassis.domain.errors import ConfigurationError


async def shrunk(case: Case) -> tuple[Case, list[Difference]]:
    """The smallest case found with a difference, and its differences; the case has one."""
    found = await differences(case)
    while True:
        for smaller in case.smaller():
            less = await _differences_of_accepted(smaller)
            if less:
                case, found = smaller, less
                break
        else:
            return case, found


async def _differences_of_accepted(case: Case) -> list[Difference]:
    try:
        return await differences(case)
    except ConfigurationError:
        return []
