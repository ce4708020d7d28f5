"""Keeps a new schema from orphaning rows: one whose label does not fit the schema is readable by nobody.

The service does not see the store. It goes by labels that were checked since it started, and believes only callers who
may write rows so labelled: an import has its labels checked, and so has a reader every row that it finds, but whoever
reaches this service can also have a label checked that nobody stored. A caller who may not write could so block every
change that retires an attribute; one who may could as well store the row, and then the change is rightly held up. So an
attribute can be taken away unnoticed that no writer has imported or come across since the start.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import AttributeValue, Label
from vecsec_policy.in_force.snapshot import PolicySnapshot

_RETIRED = re.compile(r"//\s*retired:\s*([\w, ]+)")

Attributes: TypeAlias = Mapping[tuple[str, type[AttributeValue]], AttributeValue]
"""A value for each name and type."""


class OrphanGuard:
    """Refuses a policy whose schema no longer takes an attribute that rows carry."""

    def __init__(self) -> None:
        self.carried: Attributes = {}
        """What rows carry."""

    def __call__(self, policy: PolicySnapshot) -> None:
        """See that a policy may follow the one in force.

        Raises:
            ConfigurationError: naming an attribute that rows carry and that the new schema does not take. Whoever
                means it writes `// retired: <attribute>` into the schema.
        """
        schema = policy.engine.checked.schema_text
        retired = {name.strip() for names in _RETIRED.findall(schema) for name in names.split(",")}
        for (name, _), value in sorted(self.carried.items(), key=lambda item: item[0][0]):
            label = Label("", None, frozenset(), ((name, value),))
            if name not in retired and not policy.engine.accepts(label):
                raise ConfigurationError(
                    f"schema: rows carry the attribute {name!r}, which Document no longer has or has as another type, "
                    f"so nobody could read them; keep it until they are imported anew, or write `// retired: {name}` "
                    "into the schema if that is meant"
                )
