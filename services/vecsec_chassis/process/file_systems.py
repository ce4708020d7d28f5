"""Tells whether a folder is on another machine's disk, where what SQLite needs of locks and shared memory may not hold.

The kernel's list of mounts is read, for statfs(2) names all file systems that run in a process of their own (FUSE)
alike. Shares between a machine and its own virtual machines or sandboxes (9p, virtiofs) are not called network file
systems: those of gVisor, WSL and Docker Desktop are on the same machine's disk.
"""

import os
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset({"afs", "beegfs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3"})
_NETWORK_IN_A_PROCESS = frozenset({"ceph-fuse", "gcsfuse", "glusterfs", "juicefs", "rclone", "s3fs", "sshfs"})
"""After `fuse.`"""


def network_file_system(path: Path) -> str | None:
    """The name of the network file system that the path is on, or will be once it is made, such as `nfs4`.

    None if it is on a disk of this machine, or if the system keeps no list of mounts as Linux does.
    """
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return None
    name = file_system_of(Path(os.path.realpath(path)), mounts)
    return name if name is not None and _is_of_network(name) else None


def file_system_of(path: Path, mounts: str) -> str | None:
    """The file system of an absolute path without symbolic links, by the lines of proc_pid_mountinfo(5)."""
    nearest, found = -1, None
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.partition(" ")[0]
        if not separator or len(fields) < 5:
            continue
        mount_point = Path(_unescaped(fields[4]))
        depth = len(mount_point.parts)
        if path.is_relative_to(mount_point) and depth >= nearest:  # a later one lies over an earlier one
            nearest, found = depth, kind
    return found


def _is_of_network(name: str) -> bool:
    in_a_process = name.removeprefix("fuse.")
    return name in _NETWORK if in_a_process == name else in_a_process in _NETWORK_IN_A_PROCESS


def _unescaped(mount_point: str) -> str:
    """Blanks and the like are written there by their octal numbers."""
    for character in (" ", "\t", "\n"):
        mount_point = mount_point.replace(f"\\{ord(character):03o}", character)
    return mount_point.replace("\\134", "\\")
