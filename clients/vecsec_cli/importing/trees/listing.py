"""Which folders of a tree were listed in a run, and what was in them: what alone can say that a file is missing.

A folder that could not be listed, or was not to be, says nothing of its files: neither that they are there, nor that
they are gone.
"""


class TreeListing:
    """Of the latest run."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}
        """Of each folder that was listed to its end, by its path with a `/` behind it; that of the root is empty."""
        self._files: set[str] = set()

    @property
    def has_files(self) -> bool:
        """Whether any file was found, of whatever format."""
        return bool(self._files)

    def clear(self) -> None:
        """Begin again."""
        self._names.clear()
        self._files.clear()

    def add_folder(self, prefix: str, names: list[str]) -> None:
        """A folder was listed."""
        self._names[prefix] = frozenset(names)

    def add_file(self, identifier: str) -> None:
        """A file was found."""
        self._files.add(identifier)

    def is_missing(self, identifier: str) -> bool:
        """Whether a folder that was listed does not have this file, or the folder that it was in."""
        prefix = ""
        while (names := self._names.get(prefix)) is not None:
            name, slash, rest = identifier[len(prefix) :].partition("/")
            if name not in names:
                return True
            if not rest:
                return False
            prefix += name + slash
        return prefix.removesuffix("/") in self._files
