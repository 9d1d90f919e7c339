"""Runs: begun once, joined only by their like, finished by whoever finds all units."""

import dataclasses
import json
import multiprocessing
import pathlib

import pytest

from t2sql import errors
from t2sql.runs import contents, manifest, rows, storage, units

FINGERPRINT = {
    "data": {"split": "dev", "limit": None, "sha256": "d1"},
    "model": {"name": "gemma3_270m", "weights_sha256": "w1"},
    "sampling": {"temperature": 0.0, "stop": ("\n\n",)},
    "buckets": [256, 512],
    "unit_size": 8,
}


@dataclasses.dataclass(frozen=True)
class Example:
    example_id: str
    db_id: str


EXAMPLES = [Example(f"dev/{i:04d}", f"db{i % 3}") for i in range(50)]
PLAN = units.plan_units(EXAMPLES, unit_size=8, length=lambda example: int(example.db_id[2:]) + 1)


@pytest.fixture(params=["local", "gcs"])
def url(request, tmp_path) -> str:
    if request.param == "local":
        return str(tmp_path / "run")
    return f"{request.getfixturevalue('bucket')}/run"


def _open(url, plan=PLAN, fingerprint=FINGERPRINT, **recorded):
    return manifest.Run.open(
        storage.open_storage(url), units=plan, fingerprint=fingerprint, recorded=recorded
    )


def _rows(unit, text="SELECT 1"):
    return [
        rows.Prediction(
            example_id=example.example_id,
            db_id=example.db_id,
            question="How many?",
            gold=None,
            text=text,
            sql=text,
            status="ok",
            prompt_tokens=1,
            output_tokens=1,
        )
        for example in unit.examples
    ]


def _write(run, some_units):
    for unit in some_units:
        run.write_unit(unit, _rows(unit))
    run.flush()


def test_a_run_is_filled_by_several_openings_and_done_after_the_last_unit(url):
    first = _open(url)
    assert first.finished() == set()
    _write(first, PLAN[::2])
    assert not first.write_done_if_complete()
    second = _open(url)
    assert second.finished() == {unit.name for unit in PLAN[::2]}
    _write(second, PLAN[1::2])
    assert second.write_done_if_complete()
    assert first.write_done_if_complete()
    done = json.loads(second.storage.read("done.json"))
    assert (done["units"], done["examples"]) == (len(PLAN), len(EXAMPLES))
    assert list(done["objects"]) == [unit.name for unit in PLAN]
    for unit in PLAN:
        data = second.storage.read(unit.name)
        assert done["objects"][unit.name] == {
            "rows": len(unit.examples),
            "size": len(data),
            "crc32c": storage.checksum(data),
        }


def test_a_host_with_nothing_to_do_still_confirms_the_run(url):
    _write(_open(url), PLAN)
    assert _open(url).write_done_if_complete()


def test_the_first_opening_records_and_later_ones_keep_it(url):
    _open(url, hosts=4, command="first")
    _open(url, hosts=2, command="second")
    found = json.loads(storage.open_storage(url).read("run.json"))
    assert found["recorded"] == {"hosts": 4, "command": "first"}
    assert found["fingerprint"]["output_version"] == manifest.OUTPUT_VERSION
    assert (found["units"], found["examples"]) == (len(PLAN), len(EXAMPLES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sampling": {"temperature": 0.7, "stop": ["\n\n"]}},
            r"sampling.temperature: the run has 0.0, this job has 0.7",
        ),
        (
            {"data": {"split": "dev", "limit": 10, "sha256": "d1"}},
            r"data.limit: the run has null, this job has 10",
        ),
        ({"buckets": [256]}, r"buckets: the run has \[256, 512\], this job has \[256\]"),
        ({"adapter": "lora"}, r"adapter: the run has nothing, this job has \"lora\""),
    ],
)
def test_another_fingerprint_is_refused_with_the_field_and_both_values(tmp_path, change, message):
    _open(str(tmp_path))
    with pytest.raises(errors.RefusedError, match=message) as raised:
        _open(str(tmp_path), fingerprint={**FINGERPRINT, **change})
    assert str(raised.value).count("the run has") == 1


def test_every_differing_field_is_named(tmp_path):
    _open(str(tmp_path))
    changed = {
        **FINGERPRINT,
        "unit_size": 4,
        "model": {"name": "gemma3_1b", "weights_sha256": "w1"},
    }
    plan = units.plan_units(EXAMPLES, unit_size=4, length=lambda example: 1)
    with pytest.raises(errors.RefusedError) as raised:
        _open(str(tmp_path), plan=plan, fingerprint=changed)
    assert "model.name" in str(raised.value)
    assert "unit_size" in str(raised.value)
    assert "plan" not in str(raised.value).replace("gemma3", "")


def test_the_same_fields_with_another_plan_are_refused(tmp_path):
    _open(str(tmp_path))
    plan = units.plan_units(EXAMPLES[::-1], unit_size=8, length=lambda example: 1)
    with pytest.raises(errors.RefusedError, match="plan: the run has"):
        _open(str(tmp_path), plan=plan)


def test_another_output_version_is_refused(tmp_path, monkeypatch):
    _open(str(tmp_path))
    monkeypatch.setattr(manifest, "OUTPUT_VERSION", manifest.OUTPUT_VERSION + 1)
    with pytest.raises(errors.RefusedError, match="output_version: the run has 1, this job has 2"):
        _open(str(tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "run.json: not JSON"),
        (b"[]", "run.json: format_version is None"),
        (b'{"format_version": 2}', "run.json: format_version is 2, this program reads 1"),
        (b'{"format_version": 1}', "run.json: no field 'fingerprint' of type dict"),
        (b"\xff\xfe{}", "run.json: not JSON"),
    ],
)
def test_a_run_json_that_cannot_be_read_is_bad_input(tmp_path, data, message):
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(errors.InputError, match=message):
        _open(str(tmp_path))


def test_units_that_no_run_json_explains_are_refused(url):
    storage.open_storage(url).create(PLAN[0].name, b"")
    with pytest.raises(errors.RefusedError, match="1 unit objects such as .* but no run.json"):
        _open(url)


def test_rows_that_are_not_the_units_are_a_bug(tmp_path):
    run = _open(str(tmp_path))
    with pytest.raises(ValueError, match="not its examples in their order"):
        run.write_unit(PLAN[0], _rows(PLAN[0])[::-1])


def test_a_unit_that_another_process_wrote_stays_and_is_told_if_it_differs(url, caplog):
    run = _open(url)
    run.storage.create(PLAN[0].name, rows.encode_rows(_rows(PLAN[0], text="theirs")))
    _write(run, PLAN)
    assert f"{PLAN[0].name} was written by another process" in caplog.text
    assert run.write_done_if_complete()
    assert b"theirs" in run.storage.read(PLAN[0].name)


def test_units_changed_after_the_end_are_told_and_not_signed_again(tmp_path):
    run = _open(str(tmp_path))
    _write(run, PLAN)
    assert run.write_done_if_complete()
    (tmp_path / PLAN[3].name).write_bytes(b"changed")
    with pytest.raises(errors.RefusedError, match=rf"for 1 of the .*{PLAN[3].name}.*delete done"):
        run.write_done_if_complete()


def test_deleting_a_run_deletes_its_own_objects_and_nothing_else(url):
    run = _open(url)
    _write(run, PLAN)
    run.write_done_if_complete()
    for name in ("notes.txt", "predictions/notes.txt", "report/report.html"):
        run.storage.create(name, b"mine")
    manifest.delete_run(run.storage)
    assert run.storage.names() == {"notes.txt", "predictions/notes.txt", "report/report.html"}
    _open(url, fingerprint={**FINGERPRINT, "unit_size": 9})


def _fill(url, start, results):
    start.wait()
    run = _open(url)
    _write(run, PLAN)
    results.put(run.write_done_if_complete())


def test_processes_that_fill_the_same_run_at_once_agree(tmp_path):
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=_fill, args=(str(tmp_path), start, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [True] * 3
    for process in processes:
        process.join()
    found = contents.read_run(str(tmp_path))
    assert [unit.damage for unit in found.units()] == [None] * len(PLAN)


def _read_damage(url):
    return {unit.name: unit.damage for unit in contents.read_run(url).units() if unit.damage}


def test_a_complete_run_is_read_back_row_by_row(url):
    run = _open(url)
    _write(run, PLAN)
    run.write_done_if_complete()
    found = contents.read_run(url)
    assert found.done is not None
    assert (found.missing, found.foreign) == ((), ())
    read = list(found.units())
    assert [unit.name for unit in read] == [unit.name for unit in PLAN]
    assert [list(unit.rows) for unit in read] == [_rows(unit) for unit in PLAN]


def test_missing_and_foreign_objects_are_listed_all_at_once(url):
    run = _open(url)
    _write(run, PLAN[2:])
    other = units.unit_name(1, len(PLAN) + 1)
    for name in (other, "predictions/notes.txt"):
        run.storage.create(name, b"")
    found = contents.read_run(url)
    assert found.done is None
    assert found.missing == (PLAN[0].name, PLAN[1].name)
    assert set(found.foreign) == {other, "predictions/notes.txt"}
    assert len(list(found.units())) == len(PLAN) - 2


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
    run = _open(str(tmp_path))
    _write(run, PLAN)
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
    run = _open(str(tmp_path))
    _write(run, PLAN)
    _damage(tmp_path, PLAN[1].name, DAMAGES[kind])
    damage = _read_damage(str(tmp_path))
    assert damage.keys() == {PLAN[1].name}
    assert message in damage[PLAN[1].name]


def test_a_directory_that_is_no_run_is_bad_input(url):
    with pytest.raises(errors.InputError, match="no run.json there"):
        contents.read_run(url)
