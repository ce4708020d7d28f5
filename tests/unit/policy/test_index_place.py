"""The index of violations lies on a disk of this machine, wherever the audit log is."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.network_mount import mounted_without_server

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_policy.violations.index_place import demand_local_index, index_folder


def test_it_lies_beside_the_log_unless_told_otherwise(tmp_path: Path) -> None:
    log = tmp_path / "audit" / "policy.jsonl"
    with capture_logs() as lines, index_folder(log, None) as folder:
        assert folder == log.parent
    with index_folder(log, tmp_path / "new" / "index") as folder:
        assert folder == tmp_path / "new" / "index"
        assert folder.is_dir()
    assert lines == []


def test_a_folder_that_cannot_be_written_to_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"^VECSEC_VIOLATION_INDEX_DIR: .*cannot be written to") as raised:
        demand_local_index(tmp_path / "file" / "index")
    assert "\n" not in str(raised.value)


@pytest.mark.loop
def test_a_chosen_folder_on_a_network_file_system_is_refused_in_one_line(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    with mounted_without_server(shared):
        for start in (demand_local_index, lambda chosen: index_folder(tmp_path / "log", chosen).__enter__()):
            with pytest.raises(
                ConfigurationError, match=r"^VECSEC_VIOLATION_INDEX_DIR=.*network file system \(fuse\.sshfs\)"
            ):
                start(shared / "index")


@pytest.mark.loop
def test_beside_a_log_on_a_network_file_system_it_is_kept_elsewhere_for_the_run(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    with mounted_without_server(shared), capture_logs() as lines:
        with index_folder(shared / "policy.jsonl", None) as folder:
            assert folder.is_dir()
            assert not folder.is_relative_to(shared)
        assert not folder.exists()
        with index_folder(shared / "policy.jsonl", tmp_path / "local") as folder:
            assert folder == tmp_path / "local"
    [warning] = lines
    assert warning["log_level"] == "warning"
    assert warning["file_system"] == "fuse.sshfs"
    assert "VECSEC_VIOLATION_INDEX_DIR" in warning["remedy"]
