"""Journals: what is acknowledged survives any end of the process, and nothing more is believed."""

from pathlib import Path

import pytest

from vecsec_cli.importing.journal import MAX_REPORTED, Rejections, open_journal
from vecsec_cli.importing.records import BadRecord, SourceError

BAD = BadRecord(3, "a.jsonl:3", "c", "topics", "outside your scope")


def test_what_is_settled_is_there_again(tmp_path: Path) -> None:
    with open_journal(tmp_path, "f", "tenant_a") as journal:
        journal.settle(4)
        journal.settle(3, [BAD])
    with open_journal(tmp_path, "f", "tenant_a") as journal:
        assert (journal.settled, journal.is_finished) == (7, False)
        assert journal.refused == Rejections([BAD], 1)
        journal.finish(Rejections([BAD], 5))
    with open_journal(tmp_path, "f", "tenant_a") as journal:
        assert journal.is_finished
        assert journal.bad == Rejections([BAD], 5)


@pytest.mark.parametrize(("fingerprint", "tenant"), [("other", "tenant_a"), ("f", "tenant_b")])
def test_another_content_or_another_tenant_is_another_import(tmp_path: Path, fingerprint: str, tenant: str) -> None:
    with open_journal(tmp_path, "f", "tenant_a") as journal:
        journal.settle(4)
    with open_journal(tmp_path, fingerprint, tenant) as journal:
        assert journal.settled == 0


def test_only_the_latest_content_is_believed(tmp_path: Path) -> None:
    for content in ("f", "other", "f"):
        with open_journal(tmp_path, content, "tenant_a") as journal:
            assert (journal.settled, journal.is_finished) == (0, False)
            journal.settle(4)
            journal.finish(Rejections())


def test_a_line_that_was_cut_off_is_forgotten_and_writing_goes_on_behind_the_last_whole_one(tmp_path: Path) -> None:
    with open_journal(tmp_path, "f") as journal:
        journal.settle(4)
        journal.settle(4)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    with open_journal(tmp_path, "f") as journal:
        assert journal.settled == 4
        journal.settle(2)
    with open_journal(tmp_path, "f") as journal:
        assert journal.settled == 6


def test_a_damaged_journal_says_what_to_do_and_starting_over_mends_it(tmp_path: Path) -> None:
    with open_journal(tmp_path, "f") as journal:
        journal.settle(4)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"[]\n")
    with pytest.raises(SourceError, match="--restart"), open_journal(tmp_path, "f"):
        pass
    with open_journal(tmp_path, "f", start_over=True) as journal:
        assert journal.settled == 0
        journal.settle(1)
    with open_journal(tmp_path, "f") as journal:
        assert journal.settled == 1


def test_one_source_is_imported_by_one_process_at_a_time(tmp_path: Path) -> None:
    with open_journal(tmp_path, "f"), pytest.raises(SourceError, match="another process"), open_journal(tmp_path, "f"):
        pass


def test_without_a_fingerprint_nothing_is_remembered(tmp_path: Path) -> None:
    with open_journal(tmp_path, None) as journal:
        journal.settle(4)
        journal.finish(Rejections())
    assert list(tmp_path.iterdir()) == []


def test_reports_are_bounded_and_all_are_counted() -> None:
    rejections = Rejections()
    for _ in range(MAX_REPORTED + 10):
        rejections.add(BAD)
    both = rejections.plus(rejections)
    assert (len(rejections.reported), rejections.count) == (MAX_REPORTED, MAX_REPORTED + 10)
    assert (len(both.reported), both.count) == (MAX_REPORTED, 2 * MAX_REPORTED + 20)
