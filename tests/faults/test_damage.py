"""Files of a cell are damaged: the process lives, others are unmoved, and the tenant gets no poorer answer."""

import shutil
from pathlib import Path

import pytest
from faults.children import child
from faults.conftest import Note
from faults.damages import DAMAGES
from faults.examiner import DAMAGED, prepare, state_of
from faults.plan import State

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 4
OPERATIONS = 8


@pytest.fixture(scope="module")
def state() -> State:
    return state_of(DAMAGED, SEED, OPERATIONS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "chroma"
    prepare(path, SEED, OPERATIONS)
    return path


@pytest.mark.parametrize(
    "name",
    list(DAMAGES),
)
def test_a_damaged_file_is_an_error_of_its_tenant_and_no_poorer_answer(
    tmp_path: Path, whole: Path, state: State, note: Note, name: str
) -> None:
    path = shutil.copytree(whole, tmp_path / "chroma")
    DAMAGES[name](path / DAMAGED, state)
    with child("faults.examiner", path, SEED, OPERATIONS, folder=tmp_path / "examiner") as examiner:
        status = examiner.wait()
        right, damaged = (sum(int(line[1]) for line in examiner.lines(kind)) for kind in ("right", "damaged"))
        imported = [line[1] for line in examiner.lines("import")]
        again = [" ".join(line[1:]) for line in examiner.lines("again")]
        note("damage", name, f"ended with {status}", f"{right} right, {damaged} damaged", *imported, *again)
        assert status == 0, examiner.told()
        assert examiner.lines("other") == [["other", "right"]] * 2, examiner.told()
        assert not examiner.lines("wrong"), examiner.told()
        assert set(again) <= {"right", "damaged"}, examiner.told()
        assert examiner.lines("end")
