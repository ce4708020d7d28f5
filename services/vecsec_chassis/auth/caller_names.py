"""What callers are called. A subject is unique with its issuer alone, so a caller is both.

Callers of the first issuer of the issuers file go by their subject, as rules, rows and records have always named them.
Those of every other issuer go by issuer and subject: `issuer:https://second.example#alice`. Nobody's subject may look
like that by itself, and an issuer is written so that it holds no `#`: so no two callers share a name.
"""

from urllib.parse import quote

_MARK = "issuer:"


def prefix_of(issuer: str, *, is_first: bool) -> str:
    """What stands before the subjects of an issuer; nothing for the first of the file."""
    return "" if is_first else f"{_MARK}{quote(issuer, safe=':/')}#"


def own_subject(name: str, issuer: str) -> str:
    """The subject in an issuer's own words, of a caller of this name."""
    return name.removeprefix(prefix_of(issuer, is_first=False))


def is_reserved(subject: str) -> bool:
    """Whether a subject looks like a caller of another issuer."""
    return subject.startswith(_MARK)
