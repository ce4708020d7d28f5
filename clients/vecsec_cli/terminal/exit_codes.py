"""What the exit status of `vecsec` says. The numbers are part of the interface: scripts rely on them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit statuses of `vecsec`, each with the sentence that the help prints."""

    OK = 0, "all went well"
    SOME_FAILED = 1, "some items failed (bad lines of an import, ids not found, a failed check); the rest was done"
    INVALID = 2, "wrong usage, an invalid argument or setting, nothing was done"
    UNAUTHENTICATED = 3, "no token, or one that does not verify"
    DENIED = 4, "the policy does not let this caller do this"
    NOT_FOUND = 5, "no such thing among those the caller may see"
    UNAVAILABLE = 6, "a service cannot be reached; try again"
    DEADLINE = 7, "the answer did not come in time"
    LIMIT = 8, "a limit was reached, such as a message's size or the room on the disk"
    DAMAGED = 9, "a tenant's store cannot be read; nothing was deleted"
    INTERNAL = 10, "a fault of VecSec's own; the services' logs have the details"
    INTERRUPTED = 130, "stopped by Ctrl-C"

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitCode":
        """A number that carries its meaning."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code


def help_table() -> str:
    """The exit codes as lines for the command's help."""
    return "\n\n".join(f"{code.value:>3}  {code.meaning}" for code in ExitCode)
