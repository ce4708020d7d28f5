"""However much is wrong, an error fits into gRPC's trailers."""

from vecsec_chassis.domain.errors import AccessDenied, FieldViolation, InvalidRequest
from vecsec_chassis.rpc.error_status import error_status

TRAILER_BYTES = 16 * 1024


def test_a_thousand_violations_become_twenty() -> None:
    error = InvalidRequest([FieldViolation(f"documents[{number}].text", "must not be blank") for number in range(1000)])
    status = error_status(error)
    # Trailers carry the details in base64 and the message once more.
    assert len(status.SerializeToString()) * 4 / 3 + 3 * len(status.message.encode()) < TRAILER_BYTES
    assert len(status.details) == 2


def test_huge_texts_are_cut() -> None:
    error = AccessDenied("x" * 100_000, violations=[FieldViolation("y" * 100_000, "z" * 100_000)] * 20)
    status = error_status(error)
    assert len(status.SerializeToString()) * 4 / 3 + 3 * len(status.message.encode()) < TRAILER_BYTES
    assert status.message.endswith("…")
