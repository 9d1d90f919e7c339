"""Reading runs back: rows in order, and every kind of damage told."""

import pathlib

import pytest
from small_run import PLAN, make_rows, open_run, write

from t2sql import errors
from t2sql.runs import reader, units


def _read_damage(url):
    return {unit.name: unit.damage for unit in reader.read_run(url).units() if unit.damage}


def test_a_complete_run_is_read_back_row_by_row(url):
    run = open_run(url)
    write(run, PLAN)
    run.write_done_if_complete()
    contents = reader.read_run(url)
    assert contents.done is not None
    assert (contents.missing, contents.foreign) == ((), ())
    read = list(contents.units())
    assert [unit.name for unit in read] == [unit.name for unit in PLAN]
    assert [list(unit.rows) for unit in read] == [make_rows(unit) for unit in PLAN]


def test_missing_and_foreign_objects_are_listed_all_at_once(url):
    run = open_run(url)
    write(run, PLAN[2:])
    other = units.unit_name(1, len(PLAN) + 1)
    for name in (other, "predictions/notes.txt"):
        run.storage.create(name, b"")
    contents = reader.read_run(url)
    assert contents.done is None
    assert contents.missing == (PLAN[0].name, PLAN[1].name)
    assert set(contents.foreign) == {other, "predictions/notes.txt"}
    assert len(list(contents.units())) == len(PLAN) - 2


def _damage(tmp_path, name, change):
    path = pathlib.Path(tmp_path) / name
    path.write_bytes(change(path.read_bytes()))


DAMAGES = {
    "bit": lambda data: data.replace(b"SELECT 1", b"SELECT 2", 1),
    "cut": lambda data: data[:-20],
    "emptied": lambda data: b"",
    "binary": lambda data: b"\xff" + data,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_object_is_told_and_hides_no_other(tmp_path, kind):
    run = open_run(str(tmp_path))
    write(run, PLAN)
    run.write_done_if_complete()
    _damage(tmp_path, PLAN[1].name, DAMAGES[kind])
    _damage(tmp_path, PLAN[4].name, DAMAGES[kind])
    damage = _read_damage(str(tmp_path))
    assert damage.keys() == {PLAN[1].name, PLAN[4].name}
    assert "done.json says" in damage[PLAN[1].name]


@pytest.mark.parametrize(
    ("kind", "message"),
    [("cut", "does not end"), ("binary", "not UTF-8"), ("emptied", "no rows")],
)
def test_without_done_json_a_damaged_object_is_told_by_its_rows(tmp_path, kind, message):
    run = open_run(str(tmp_path))
    write(run, PLAN)
    run.storage.delete(run.storage.names("checksums/"))
    _damage(tmp_path, PLAN[1].name, DAMAGES[kind])
    damage = _read_damage(str(tmp_path))
    assert damage.keys() == {PLAN[1].name}
    assert message in damage[PLAN[1].name]


def test_without_done_json_a_changed_object_is_told_by_its_checksum(tmp_path):
    write(open_run(str(tmp_path)), PLAN)
    _damage(tmp_path, PLAN[1].name, DAMAGES["bit"])
    assert "when written it had" in _read_damage(str(tmp_path))[PLAN[1].name]


def test_a_directory_that_is_no_run_is_bad_input(url):
    with pytest.raises(errors.InputError, match="no run.json there"):
        reader.read_run(url)
