"""On which file system a path lies, as Linux tells a process."""

import re
from dataclasses import dataclass
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system, and where it begins."""

    point: Path
    kind: str
    """Its name in the kernel, such as `ext4` or `nfs4`."""


def mount_of(path: Path) -> Mount | None:
    """The file system that holds the path, or would hold it if it were made; None where the system does not tell."""
    try:
        told = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return innermost(parse(told), path.resolve())


def parse(told: str) -> list[Mount]:
    """The mounts of a `mountinfo`, in its order."""
    mounts = []
    for line in told.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) > 4 and kinds:
            point = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4])
            mounts.append(Mount(Path(point), kinds[0]))
    return mounts


def innermost(mounts: list[Mount], path: Path) -> Mount | None:
    """The one that the path lies on: the deepest, and of several at one place the last, which hides the others."""
    around = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(enumerate(around), key=lambda each: (len(each[1].point.parts), each[0]), default=(0, None))[1]
