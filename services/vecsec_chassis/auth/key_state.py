"""How the keys of an issuer stand, as operators see it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyState:
    """The keys in force."""

    count: int
    age_seconds: float | None
    """Since they were last seen to be current; None if they never were."""
    problem: str | None
    """Why no newer ones can be had; None if nothing is wrong."""
