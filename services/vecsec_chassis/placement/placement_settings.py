"""The settings of services that know the placement."""

from pydantic import Field

from vecsec_chassis.settings import OptionalPath, ServiceSettings


class PlacementSettings(ServiceSettings):
    """Settings of the services that know the shards."""

    placement_file: OptionalPath = Field(None, alias="VECSEC_PLACEMENT_FILE")
    """The shards of retrieval with their addresses, and pinned tenants (YAML), taken live; without it there is one
    retrieval service for all."""
