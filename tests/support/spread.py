"""How tests are spread over several processes (pytest-xdist)."""

from xdist.scheduler import LoadScopeScheduling

ONE_ENGINE = frozenset({"test_compose.py", "test_images.py", "test_systemd_for_real.py"})
"""These share a Docker engine and the images that are built in it."""


class ByFile(LoadScopeScheduling):
    """The tests of a file run in one process, one after the other, and so do those that share a Docker engine."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "one engine" if file.rpartition("/")[2] in ONE_ENGINE else file
