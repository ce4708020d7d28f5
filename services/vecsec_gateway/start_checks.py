"""What must be right for the gateway to start: see `vecsec_chassis.process.starting`."""

from collections.abc import Sequence

from vecsec_chassis.auth.tokens import TokenVerifier, load_trusted_issuers
from vecsec_chassis.flag.flag import first_flags
from vecsec_chassis.placement.placement_file import load_placement
from vecsec_chassis.process.starting import Check
from vecsec_chassis.tls.watch import demand_usable_certificates
from vecsec_gateway.settings import GatewaySettings


def start_checks(settings: GatewaySettings) -> Sequence[Check]:
    """Certificates, issuers with their keys, the flag file and the placement."""
    return (
        lambda: demand_usable_certificates(settings.certificate_files()),
        lambda: TokenVerifier(load_trusted_issuers(settings.issuers_file)),
        lambda: first_flags(settings.flag_file),
        lambda: settings.placement_file and load_placement(settings.placement_file),
    )
