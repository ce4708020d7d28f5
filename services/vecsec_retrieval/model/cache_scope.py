"""Whose something that is remembered of a question is.

What a text's embedding or a search's answer is depends on less. But who finds it remembered is answered sooner, and
must not learn from that what others asked, not even others of the same tenant.
"""

from typing import NamedTuple


class CacheScope(NamedTuple):
    """One caller who asks in one tenant."""

    tenant_id: str
    caller_tenant_id: str
    subject: str
