"""Collects what is wrong with a policy folder: a start names the first problem, `vecsec policy check` all of them."""

from types import TracebackType

from vecsec_chassis.errors import StartupError


class Problems:
    """Complaints in the order in which they were found; each is one line with file, line and reason.

    As a context (`with problems:`) it notes a complaint that the block ends with, and what follows the block goes on.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, StartupError):
            return False
        self.note(str(error))
        return True

    def note(self, complaint: str) -> None:
        """Note a complaint."""
        self.found.append(complaint)

    def raise_first(self) -> None:
        """End here if anything is wrong.

        Raises:
            StartupError: the first complaint, and how many more there are.
        """
        if not self.found:
            return
        more = len(self.found) - 1
        raise StartupError(self.found[0] + (f" (and {more} more: `vecsec policy check` lists them)" if more else ""))
