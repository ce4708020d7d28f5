"""The metadata of a row that others may write to as well, so that it is always that of one version.

ChromaDB's upsert merges metadata: what one writer's version lacks stays there from another's. So all of a caller's
metadata stands under one key, too, which every upsert replaces. The single keys are left for ChromaDB to look for, and
what it finds by one of another version is looked at again here.
"""

from collections.abc import Mapping
from dataclasses import replace

import orjson

from vecsec_retrieval.model.rows import MetadataValue, StoredRow
from vecsec_retrieval.visibility.tagging import METADATA_PREFIX, caller_metadata

WHOLE_KEY = "vs_metadata"
"""The reserved metadata key."""


def with_whole_metadata(row: StoredRow) -> StoredRow:
    """The row with all of its caller's metadata under one key, too."""
    whole = orjson.dumps(caller_metadata(row.metadata)).decode()
    return replace(row, metadata={**row.metadata, WHOLE_KEY: whole})


def of_one_version(tags: Mapping[str, MetadataValue | None]) -> Mapping[str, MetadataValue | None]:
    """What stands on a row, without what another version left there; rows without the key cannot be told."""
    whole = tags.get(WHOLE_KEY)
    if not isinstance(whole, str):
        return tags
    try:
        of_version = orjson.loads(whole).items()
    except (orjson.JSONDecodeError, AttributeError):
        return {}  # nobody of ours wrote it: a row without tags is nobody's
    own = {key: value for key, value in tags.items() if key != WHOLE_KEY and not key.startswith(METADATA_PREFIX)}
    return own | {METADATA_PREFIX + key: value for key, value in of_version}
