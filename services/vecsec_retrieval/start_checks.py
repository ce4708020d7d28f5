"""What must be right for the retrieval service to start: see `vecsec_chassis.process.starting`."""

import contextlib
from collections.abc import Sequence

from vecsec_chassis.auth.keys import key_source
from vecsec_chassis.domain.errors import ConfigurationError, RetrievalUnavailable
from vecsec_chassis.flag.flag import first_flags
from vecsec_chassis.placement.placement_file import demand_named, load_placement
from vecsec_chassis.process.starting import Check
from vecsec_chassis.tls.watch import demand_usable_certificates
from vecsec_retrieval.settings import RetrievalSettings
from vecsec_retrieval.stores.folder.open_files import demand_enough_files
from vecsec_retrieval.stores.folder.store_folder import demand_store


def start_checks(settings: RetrievalSettings) -> Sequence[Check]:
    """The grant keys, the store, the placement, certificates and the flag file. A ChromaDB server that does not answer
    is told, too, though the service would start and wait for it."""
    return (
        lambda: key_source(settings.grant_jwks, "VECSEC_GRANT_JWKS"),
        lambda: _demand_store(settings),
        lambda: _demand_placement(settings),
        lambda: demand_usable_certificates(settings.certificate_files()),
        lambda: first_flags(settings.flag_file),
    )


def _demand_placement(settings: RetrievalSettings) -> None:
    if settings.shard is not None and settings.placement_file is not None:
        demand_named(load_placement(settings.placement_file), settings.shard)


def _demand_store(settings: RetrievalSettings) -> None:
    if settings.chroma_url is None:
        demand_enough_files()
        demand_store(settings.chroma_path, may_be_new=settings.store_may_be_new, shard=settings.shard)
        return
    from vecsec_retrieval.app import remote_store  # noqa: PLC0415 (ChromaDB takes a second to import)

    with contextlib.closing(remote_store(settings, settings.chroma_url)) as store:
        try:
            store.heartbeat()
        except RetrievalUnavailable as error:
            raise ConfigurationError(error.detail or error.message) from error
