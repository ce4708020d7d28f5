"""A folder on another machine's disk is known for one."""

from pathlib import Path

import pytest
from support.network_mount import mounted_without_server

from vecsec_chassis.process import file_systems
from vecsec_chassis.process.file_systems import file_system_of, network_file_system

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw - proc proc rw
30 22 0:40 /exports/data /srv/data rw,relatime - nfs4 10.0.0.5:/exports/data rw,vers=4.2
31 30 254:1 / /srv/data/local rw,relatime - xfs /dev/vdb rw
32 22 0:41 / /mnt/two\040words rw,relatime master:3 - cifs //server/share rw
33 22 0:42 / /mnt/over rw - ext4 /dev/vdc rw
34 33 0:43 / /mnt/over rw - fuse.sshfs host:/ rw
""".strip()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/var/lib/vecsec", "ext4"),
        ("/srv/data", "nfs4"),
        ("/srv/data/tenants/not-made-yet", "nfs4"),
        ("/srv/data/local/chroma", "xfs"),
        ("/srv/database", "ext4"),
        ("/mnt/two words/chroma", "cifs"),
        ("/mnt/over/chroma", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_last_mount_counts(path: str, expected: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == expected


def test_lines_that_are_none_are_passed_over() -> None:
    assert file_system_of(Path("/a"), "\n- \nnonsense\n1 2 3 / / rw") is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nfs4", "nfs4"),
        ("fuse.sshfs", "fuse.sshfs"),
        ("fuse.glusterfs", "fuse.glusterfs"),
        ("ext4", None),
        ("overlay", None),
        ("tmpfs", None),
        ("fuse.portal", None),
        ("fuseblk", None),
        ("9p", None),
    ],
)
def test_only_those_of_a_network_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: str | None
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 1:1 / / rw - {kind} source rw\n")
    monkeypatch.setattr(file_systems, "_MOUNTS", mounts)
    assert network_file_system(tmp_path / "store") == expected


def test_a_system_without_a_list_of_mounts_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_systems, "_MOUNTS", tmp_path / "none")
    assert network_file_system(tmp_path) is None


def test_a_folder_of_this_machine_is_on_none(tmp_path: Path) -> None:
    assert network_file_system(tmp_path) is None


@pytest.mark.loop
def test_a_link_into_a_mounted_one_is_followed(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    link = tmp_path / "link"
    link.symlink_to(mounted)
    with mounted_without_server(mounted):
        assert network_file_system(mounted / "store") == "fuse.sshfs"
        assert network_file_system(link / "store") == "fuse.sshfs"
        assert network_file_system(tmp_path) is None
