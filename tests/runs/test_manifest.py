"""Runs: begun once, joined only by their like, finished by whoever finds all units."""

import json
import multiprocessing

import pytest
from small_run import EXAMPLES, FINGERPRINT, PLAN, make_plan, make_rows, open_run, write

from t2sql import errors, storage
from t2sql.runs import manifest, predictions, reader


def test_a_run_is_filled_by_several_openings_and_done_after_the_last_unit(url):
    first = open_run(url)
    assert first.finished() == set()
    write(first, PLAN[::2])
    assert not first.write_done_if_complete()
    second = open_run(url)
    assert second.finished() == {unit.name for unit in PLAN[::2]}
    write(second, PLAN[1::2])
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
    write(open_run(url), PLAN)
    assert open_run(url).write_done_if_complete()


def test_the_first_opening_records_and_later_ones_keep_it(url):
    open_run(url, hosts=4, command="first")
    open_run(url, hosts=2, command="second")
    record = json.loads(storage.open_storage(url).read("run.json"))
    assert record["recorded"] == {"hosts": 4, "command": "first"}
    assert record["fingerprint"]["output_version"] == manifest.OUTPUT_VERSION
    assert (record["units"], record["examples"]) == (len(PLAN), len(EXAMPLES))


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
    open_run(str(tmp_path))
    with pytest.raises(errors.RefusedError, match=message) as raised:
        open_run(str(tmp_path), fingerprint={**FINGERPRINT, **change})
    assert str(raised.value).count("the run has") == 1


def test_every_differing_field_is_named(tmp_path):
    open_run(str(tmp_path))
    changed = {
        **FINGERPRINT,
        "unit_size": 4,
        "model": {"name": "gemma3_1b", "weights_sha256": "w1"},
    }
    plan = make_plan(unit_size=4)
    with pytest.raises(errors.RefusedError) as raised:
        open_run(str(tmp_path), plan=plan, fingerprint=changed)
    assert "model.name" in str(raised.value)
    assert "unit_size" in str(raised.value)
    assert "plan" not in str(raised.value).replace("gemma3", "")


def test_the_same_fields_with_another_plan_are_refused(tmp_path):
    open_run(str(tmp_path))
    plan = make_plan(EXAMPLES[::-1])
    with pytest.raises(errors.RefusedError, match="plan: the run has"):
        open_run(str(tmp_path), plan=plan)


def test_another_output_version_is_refused(tmp_path, monkeypatch):
    open_run(str(tmp_path))
    version = manifest.OUTPUT_VERSION
    monkeypatch.setattr(manifest, "OUTPUT_VERSION", version + 1)
    with pytest.raises(errors.RefusedError, match=f"output_version: the run has {version}"):
        open_run(str(tmp_path))


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
        open_run(str(tmp_path))


def test_units_that_no_run_json_explains_are_refused(url):
    storage.open_storage(url).create(PLAN[0].name, b"")
    with pytest.raises(errors.RefusedError, match="1 unit objects such as .* but no run.json"):
        open_run(url)


def test_rows_that_are_not_the_units_are_a_bug(tmp_path):
    run = open_run(str(tmp_path))
    with pytest.raises(ValueError, match="not its examples in their order"):
        run.write_unit(PLAN[0], make_rows(PLAN[0])[::-1])


def test_a_unit_that_another_process_wrote_stays_and_is_told_if_it_differs(url, caplog):
    run = open_run(url)
    run.storage.create(PLAN[0].name, predictions.encode_rows(make_rows(PLAN[0], text="theirs")))
    write(run, PLAN)
    assert f"{PLAN[0].name} was written by another process" in caplog.text
    assert run.write_done_if_complete()
    assert b"theirs" in run.storage.read(PLAN[0].name)


def test_units_changed_after_the_end_are_told_and_not_signed_again(tmp_path):
    run = open_run(str(tmp_path))
    write(run, PLAN)
    assert run.write_done_if_complete()
    (tmp_path / PLAN[3].name).write_bytes(b"changed")
    with pytest.raises(
        errors.RefusedError, match=rf"for 1 of the .*{PLAN[3].name}.*--config.redo=True"
    ):
        run.write_done_if_complete()


def test_deleting_a_run_deletes_its_own_objects_and_nothing_else(url):
    run = open_run(url)
    write(run, PLAN)
    run.write_done_if_complete()
    for name in ("notes.txt", "predictions/notes.txt", "report/report.html"):
        run.storage.create(name, b"mine")
    manifest.delete_run(run.storage)
    assert run.storage.names() == {"notes.txt", "predictions/notes.txt", "report/report.html"}
    open_run(url, fingerprint={**FINGERPRINT, "unit_size": 9})


def _fill(url, start, results):
    start.wait()
    run = open_run(url)
    write(run, PLAN)
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
    contents = reader.read_run(str(tmp_path))
    assert [unit.damage for unit in contents.units()] == [None] * len(PLAN)
