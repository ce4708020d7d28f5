"""Sizes as people write them."""

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_size(text: str) -> int:
    """Bytes in a size such as `512M`, `1G` or `1.5GiB` (factors of 1,024).

    Raises:
        ValueError: if it is not a size, or not above zero.
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _FACTORS[match[2].upper()]) if match else 0
    if size <= 0:
        raise ValueError(f"{text!r} is not a size such as 512M or 1G")
    return size
