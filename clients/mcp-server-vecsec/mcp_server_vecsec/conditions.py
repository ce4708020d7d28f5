"""From the conditions that a model writes to those of the SDK."""

from typing import Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, ConfigDict, Field

from vecsec_client import MetadataFilter, Scalar, all_of, at_least, at_most, equals, in_, less_than, more_than

_OF_NUMBERS = {"at_least": at_least, "at_most": at_most, "more_than": more_than, "less_than": less_than}


class Condition(BaseModel):
    """A condition on one metadata key."""

    model_config = ConfigDict(extra="forbid")  # what was misspelt would widen the answer

    key: str = Field(description="The metadata key.")
    operator: Literal["equals", "in", "at_least", "at_most", "more_than", "less_than"] = "equals"
    value: Scalar | list[Scalar] = Field(description="A list for `in`, a number for comparisons, else a single value.")


def filter_of(conditions: list[Condition]) -> MetadataFilter | None:
    """One filter for conditions that must all hold; None for none.

    Raises:
        ToolError: naming the condition whose value does not fit its operator.
    """
    if not conditions:
        return None
    return all_of(*(_single(condition) for condition in conditions))


def _single(condition: Condition) -> MetadataFilter:
    key, operator, value = condition.key, condition.operator, condition.value
    if operator == "in":
        if isinstance(value, list) and value:
            return in_(key, value)
        raise ToolError(f"filter on {key!r}: the operator in takes a list of at least one value")
    if isinstance(value, list):
        raise ToolError(f"filter on {key!r}: the operator {operator} takes one value; several are for in")
    if operator == "equals":
        return equals(key, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ToolError(f"filter on {key!r}: the operator {operator} takes a number, not {value!r}")
    return _OF_NUMBERS[operator](key, value)
