"""From the SDK's errors to exit codes and to hints what to do about them."""

from collections.abc import Mapping

from grpc import StatusCode

from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_client import VecSecError

MINT_TOKEN = "export VECSEC_TOKEN=$(vecsec token --tenant tenant_a --role analyst --clearance INTERNAL --subject alice)"  # noqa: S105

_EXIT_CODE_OF_STATUS: Mapping[StatusCode, ExitCode] = {
    StatusCode.INVALID_ARGUMENT: ExitCode.INVALID,
    StatusCode.UNAUTHENTICATED: ExitCode.UNAUTHENTICATED,
    StatusCode.PERMISSION_DENIED: ExitCode.DENIED,
    StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    StatusCode.UNAVAILABLE: ExitCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: ExitCode.DEADLINE,
    StatusCode.RESOURCE_EXHAUSTED: ExitCode.LIMIT,
    StatusCode.DATA_LOSS: ExitCode.DAMAGED,
}

_HINT_OF_REASON = {
    "UNKNOWN_TENANT": "tenants are listed in the policy's tenants.yaml (policy/ in the state directory of `vecsec up`)",
    "INVALID_TOKEN": f"get a fresh token: {MINT_TOKEN}",
    "ACCESS_DENIED": "`vecsec explain` says what this token may do; the audit record of the policy service holds it",
    "COLLECTION_NOT_FOUND": "`vecsec collections` lists those that this token may read",
    "POLICY_UNAVAILABLE": "the gateway runs, the policy service behind it does not; `vecsec doctor` says more",
    "RETRIEVAL_UNAVAILABLE": "the retrieval service or its vector store does not answer; `vecsec doctor` says which. "
    "`vecsec search --allow-mock` shows made-up rows meanwhile",
    "REAL_RETRIEVAL_OFF": "`vecsec flag get` shows for whom USE_REAL_VECTOR_RETRIEVAL is off. "
    "`vecsec search --allow-mock` shows made-up rows meanwhile",
    "STORE_DAMAGED": "nothing was deleted; `vecsec tenant repair` saves what can be read, `vecsec doctor` says more",
    "LIMIT_EXCEEDED": "send less at a time, or see what the message names",
    "AUDIT_UNAVAILABLE": "make room on the disk of VECSEC_AUDIT_FILE; the policy service then goes on by itself",
    "KEYS_UNAVAILABLE": "the token may well be good; `vecsec doctor` says whose keys cannot be had, and why",
    "SHUTTING_DOWN": "try again in a moment",
}
_DISK_TAKES_NO_WRITES = "the disk of the vector store"
_FREE_THE_DISK = "make room on that disk, or mount it for writing; until then nothing can be imported, however little"
_HINT_OF_STATUS = {
    StatusCode.UNAUTHENTICATED: f"get a token: {MINT_TOKEN}",
    StatusCode.UNAVAILABLE: "start the services with `vecsec up`, or name a gateway with --gateway or VECSEC_GATEWAY",
    StatusCode.DEADLINE_EXCEEDED: "give it more time with --timeout; `vecsec doctor` looks for what is slow",
}


def exit_code_of(error: VecSecError) -> ExitCode:
    """The exit code of a failed call."""
    return _EXIT_CODE_OF_STATUS.get(error.code, ExitCode.INTERNAL)


def hint_for(error: VecSecError) -> str:
    """What to do about a failed call; empty where the message says it all."""
    if error.reason == "LIMIT_EXCEEDED" and _DISK_TAKES_NO_WRITES in error.message:
        return _FREE_THE_DISK
    hint = _HINT_OF_REASON.get(error.reason) or _HINT_OF_STATUS.get(error.code, "")
    if exit_code_of(error) is ExitCode.INTERNAL and error.request_id:
        return f"the services' logs have the details under request id {error.request_id}"
    return hint


def message_of(error: VecSecError) -> str:
    """The service's own message, or that the gateway could not be reached."""
    if error.code is StatusCode.UNAVAILABLE and not error.reason:
        return f"cannot reach the gateway: {error.message}"
    return error.message


def failure_fields(code: str, message: str, hint: str, error: VecSecError | None = None) -> dict[str, object]:
    """A failure as `--json` prints it; what only services say of one is empty without their error."""
    return {
        "code": code,
        "reason": error.reason if error else "",
        "message": message,
        "violations": error.violations if error else (),
        "retry_after_seconds": error.retry_after if error else None,
        "request_id": error.request_id if error else "",
        "hint": hint,
    }
