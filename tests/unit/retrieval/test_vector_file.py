"""Vectors in nameless files: they grow, what was handed out stays, and a full disk is an error that changes nothing."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from vecsec_retrieval.memory.exact_scan import ScanRows
from vecsec_retrieval.memory.quantised_rows import quantise
from vecsec_retrieval.memory.vector_file import VectorFile
from vecsec_retrieval.model.embeddings import normalised
from vecsec_retrieval.model.rows import Matrix

DIMENSIONS = 12


def rows(count: int, seed: int = 1) -> Matrix:
    return normalised(np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype(np.float32))


def same(scanned: ScanRows, expected: Matrix) -> bool:
    quantised = quantise(expected)
    return all(
        np.array_equal(one, other)
        for one, other in [
            (scanned.exact, expected),
            (scanned.quantised.numbers, quantised.numbers),
            (scanned.quantised.scales, quantised.scales),
            (scanned.quantised.errors, quantised.errors),
        ]
    )


def test_rows_are_read_as_they_were_appended_and_old_maps_stay_valid(tmp_path: Path) -> None:
    file, written = VectorFile(DIMENSIONS, tmp_path), rows(0)
    handed_out: list[tuple[ScanRows, Matrix]] = []
    for seed in range(12):
        batch = rows(700, seed)
        file.make_room(len(written) + len(batch))
        file.put(len(written), batch)
        written = np.concatenate([written, batch])
        handed_out.append((file.rows(len(written)), written))
    del file
    for scanned, expected in handed_out:
        assert same(scanned, expected)


def test_a_map_that_is_scanned_sees_what_is_written_behind_it_as_others_do(tmp_path: Path) -> None:
    """Both are maps of the same file: growing copies nothing."""
    file = VectorFile(DIMENSIONS, tmp_path)
    file.make_room(10)
    before, capacity = file.rows(file.capacity), file.capacity
    file.make_room(capacity + 1)
    file.put(0, rows(10))
    assert np.array_equal(before.exact[:10], rows(10))


def test_nothing_lies_in_the_folder_and_files_close_with_who_has_them(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = descriptors()
    file = VectorFile(DIMENSIONS, tmp_path)
    file.make_room(5_000)
    file.put(0, rows(5_000))
    assert list(tmp_path.iterdir()) == []
    assert descriptors() > before
    scanned = file.rows(5_000)
    del file, scanned
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "second"])
def test_a_full_disk_is_an_error_that_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    file = VectorFile(DIMENSIONS, tmp_path)
    file.make_room(1_500)
    file.put(0, rows(1_500))
    reserve, calls = os.posix_fallocate, []

    def full(descriptor: int, offset: int, length: int) -> None:
        calls.append(length)
        if is_first or len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(descriptor, offset, length)

    capacity = file.capacity
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        file.make_room(100_000)
    assert file.capacity == capacity
    assert same(file.rows(1_500), rows(1_500))
    monkeypatch.setattr(os, "posix_fallocate", reserve)
    file.make_room(100_000)
    file.put(1_500, rows(98_500, seed=2))
    assert same(file.rows(100_000), np.concatenate([rows(1_500), rows(98_500, seed=2)]))


def test_room_that_writes_to_the_store_need_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = VectorFile(DIMENSIONS, tmp_path)
    disk = os.statvfs(tmp_path)
    monkeypatch.setattr("vecsec_retrieval.memory.vector_file._BYTES_LEFT_FREE", disk.f_bavail * disk.f_frsize + 2**40)
    with pytest.raises(OSError, match="No space left"):
        file.make_room(1)


def test_where_the_system_cannot_reserve_zeros_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr("vecsec_retrieval.memory.vector_file._ZEROS", bytes(1_000))
    file = VectorFile(DIMENSIONS, tmp_path)
    file.make_room(1_500)
    file.put(0, rows(1_500))
    file.make_room(3_000)
    assert same(file.rows(1_500), rows(1_500))
