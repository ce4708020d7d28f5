"""Which attributes of callers a schema declares, and whether what a token says fits them: asked of Cedar, once a kind.

`groups` and `reader_names` are there for every caller where the schema declares them, and absent where it does not:
schemas of before know neither. Anything else is there if the schema declares it and the token says it.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from cachetools import LRUCache

from vecsec_chassis.domain.access import AttributeValue
from vecsec_chassis.domain.errors import AccessDenied
from vecsec_policy.folder.principals import OWN_ATTRIBUTES

GROUPS = "groups"
READER_NAMES = "reader_names"
_REMEMBERED_NAMES = 1_000
_EXAMPLES: Mapping[str, AttributeValue] = MappingProxyType(
    {"a text": "text", "a whole number": 1, "true or false": True, "a list of texts": ("text",)}
)
"""By what people call it."""
_KIND_OF_TYPE = {str: "a text", int: "a whole number", bool: "true or false", tuple: "a list of texts"}
_Attributes = Mapping[str, AttributeValue]


class CallerAttributes:
    """Knows what one schema says of callers."""

    def __init__(self, accepts: Callable[[_Attributes], bool]) -> None:
        """`accepts` is Cedar's word on a caller who has these beside subject, tenant, role and clearance."""
        self._accepts = accepts
        # All of them, or what there is of them: without one that the schema demands, Cedar takes no caller.
        tried: Sequence[frozenset[str]] = [
            frozenset({GROUPS, READER_NAMES}),
            frozenset({GROUPS}),
            frozenset({READER_NAMES}),
        ]
        self.sets = next((names for names in tried if self._takes(names)), frozenset[str]())
        """Which of groups and reader names the schema declares."""
        self._declared: LRUCache[str, str | None] = LRUCache(_REMEMBERED_NAMES)

    def fitting(self, attributes: Sequence[tuple[str, AttributeValue]]) -> tuple[tuple[str, AttributeValue], ...]:
        """Those of a token's attributes that the schema declares; no rule can ask for the others.

        Raises:
            AccessDenied: naming one that is declared as something else, or that bears a name of our own.
        """
        fitting = []
        for name, value in attributes:
            if name in OWN_ATTRIBUTES:
                raise AccessDenied(
                    f"the token gives the caller attribute {name!r}, a name that every caller has already"
                )
            kind, declared = _KIND_OF_TYPE[type(value)], self._declared_kind(name)
            if declared not in {None, kind}:
                raise AccessDenied(
                    f"the token gives the caller attribute {name!r} as {kind}, and the policy's schema declares it as "
                    f"{declared}; correct the issuer's claims or the schema"
                )
            if declared is not None:
                fitting.append((name, value))
        return tuple(fitting)

    def _declared_kind(self, name: str) -> str | None:
        """What kind of value the schema declares under a name; None if it declares none that a token can give."""
        if name not in self._declared:
            own = _examples(self.sets)
            fits = (kind for kind, value in _EXAMPLES.items() if self._accepts({**own, name: value}))
            self._declared[name] = next(fits, None)
        return self._declared[name]

    def _takes(self, names: frozenset[str]) -> bool:
        return self._accepts(_examples(names))


def _examples(names: frozenset[str]) -> _Attributes:
    return dict.fromkeys(names, ("text",))
