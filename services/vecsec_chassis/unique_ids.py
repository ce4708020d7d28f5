"""Ids that no two things share. They give no rights, so nobody gains by guessing one.

`uuid4` asks the operating system each time, which takes longer than many a decision.
"""

import random
import secrets

_generator = random.Random(secrets.randbits(256))  # noqa: S311 (no secret)


def unique_id() -> str:
    """128 random bits in hexadecimal digits."""
    return f"{_generator.getrandbits(128):032x}"
