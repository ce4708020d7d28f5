"""How long the services' certificates hold. Whether they are whole and fit together, the services say: see `start`."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn

_CHECK = "certificates"
_DAY_SECONDS = 86_400
_SOON_DAYS = 14
_REMEDIES = {
    "VECSEC_TLS_CERTIFICATE_FILE": "renew it",
    "VECSEC_TLS_CA_FILE": "issue a new authority, and let both be trusted for a while",
}


def check_certificates(settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """When each file ceases to hold; nothing of one that is not set or cannot be read."""
    for name, remedy in _REMEDIES.items():
        path = Path(settings.get(name) or "/dev/null")
        try:
            certificates = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError):
            continue
        yield expiry_finding(f"{name}={path}", certificates, remedy)


def expiry_finding(what: str, certificates: list[x509.Certificate], remedy: str) -> CheckResult:
    """Whether they hold, and until when the first of them does."""
    end = min(each.not_valid_after_utc for each in certificates).timestamp()
    days = (end - time.time()) / _DAY_SECONDS
    until = f"{what} holds until {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC"
    if days <= 0:
        return fail(_CHECK, until, remedy)
    return warn(_CHECK, until, remedy) if days < _SOON_DAYS else ok(_CHECK, until)
