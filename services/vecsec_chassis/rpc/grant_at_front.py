"""Reads the grant of a request that is not decoded yet, to know whose turn it is to have it decoded."""

_TAG = 0x0A
"""Field 1, of a text: where requests that bring a grant have it. Messages are written in the order of their fields."""
_MOST_LENGTH_BYTES = 5


def grant_at_front(data: bytes) -> str:
    """The text that a message begins with; empty if it begins otherwise. Who writes anything else there has no valid
    grant there."""
    if not data or data[0] != _TAG:
        return ""
    length = 0
    for number, byte in enumerate(data[1 : 1 + _MOST_LENGTH_BYTES]):
        length |= (byte & 0x7F) << (7 * number)
        if byte < 0x80:
            start = 2 + number
            return data[start : start + length].decode("utf-8", "replace") if start + length <= len(data) else ""
    return ""
