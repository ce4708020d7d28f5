"""Keeps a new schema from orphaning rows: one whose label does not fit the schema is readable by nobody.

The service does not see the store. It knows the labels that it checked lately, and goes by them: an attribute that no
caller came across since the service started can be taken away unnoticed.
"""

import re
from collections.abc import Callable, Iterable

from vecsec_chassis.errors import StartupError
from vecsec_chassis.labels import AttributeValue, Label
from vecsec_policy.snapshot import PolicySnapshot

_RETIRED = re.compile(r"//\s*retired:\s*([\w, ]+)")


class OrphanGuard:
    """Refuses a policy whose schema no longer takes an attribute that rows carry."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, type[AttributeValue]], AttributeValue] = {}
        self._labels: Callable[[], Iterable[Label]] = tuple

    def ask(self, labels: Callable[[], Iterable[Label]]) -> None:
        """From now on learn the attributes of these labels, which fit the schema in force."""
        self._labels = labels

    def __call__(self, policy: PolicySnapshot) -> None:
        """See that a policy may follow the one in force.

        Raises:
            StartupError: naming an attribute that rows carry and that the new schema does not take. Whoever means it
                writes `// retired: <attribute>` into the schema.
        """
        for label in self._labels():
            for name, value in label.attributes:
                self._seen.setdefault((name, type(value)), value)
        schema = policy.engine.checked.schema_text
        retired = {name.strip() for names in _RETIRED.findall(schema) for name in names.split(",")}
        for (name, _), value in sorted(self._seen.items(), key=lambda item: item[0][0]):
            label = Label("", None, frozenset(), ((name, value),))
            if name not in retired and not policy.engine.accepts(label):
                raise StartupError(
                    f"schema: rows carry the attribute {name!r}, which Document no longer has or has as another type, "
                    f"so nobody could read them; keep it until they are imported anew, or write `// retired: {name}` "
                    "into the schema if that is meant"
                )
