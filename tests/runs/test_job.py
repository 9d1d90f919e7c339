"""The main job on the sample data with the dummy model."""

import dataclasses
import json
import shutil

import jobs
import pytest

from t2sql import errors
from t2sql.data import examples as examples_lib
from t2sql.data import sources
from t2sql.runs import job, predict
from t2sql.runtime import distributed, signals
from t2sql.sql.clean import clean_sql


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was never interrupted."""
    output = tmp_path_factory.mktemp("runs") / "finished"
    jobs.run(output)
    return output


@pytest.fixture
def copy(finished, tmp_path):
    """The same run, to be damaged."""
    return shutil.copytree(finished, tmp_path / "copy")


def test_every_example_has_its_row(finished):
    rows = jobs.read_rows(finished)
    examples = examples_lib.read_examples(sources.SAMPLE, "dev", limit=24)
    assert rows.keys() == {example.example_id for example in examples}
    for example in examples:
        row = rows[example.example_id]
        assert (row.question, row.gold, row.db_id) == (
            example.question,
            example.query,
            example.db_id,
        )
        assert row.sql == clean_sql("SELECT" + row.text)
        assert 0 < row.output_tokens <= 8
        assert row.prompt_tokens > 100


def test_only_the_examples_of_a_file_are_answered(finished, tmp_path):
    listed = tmp_path / "ids.txt"
    listed.write_text("dev/0011\ndev/0003\n")
    rows = jobs.run(tmp_path / "some", **{"data.only": str(listed), "data.limit": None})
    whole = jobs.read_rows(finished)
    assert rows == {name: whole[name] for name in ("dev/0003", "dev/0011")}
    data = jobs.read_json(tmp_path / "some", "run.json")["fingerprint"]["data"]
    assert data["only"] == ["dev/0003", "dev/0011"]
    listed.write_text("dev/0011")
    with pytest.raises(
        errors.RefusedError, match=r'data.only: the run has \["dev/0003", "dev/0011'
    ):
        jobs.run(tmp_path / "some", **{"data.only": str(listed), "data.limit": None})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"config\.data\.only=.*ids\.txt: there is no such file"),
        (b"\xff", "not UTF-8"),
        (b"dev/9999", r"config\.data\.only=.*ids\.txt: .*dev\.json has no example 'dev/9999'"),
    ],
)
def test_a_file_of_ids_that_cannot_be_used_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(errors.InputError, match=message):
        jobs.run(tmp_path / "run", **{"data.only": str(tmp_path / "ids.txt"), "data.limit": None})


def test_a_directory_is_no_file_of_ids(tmp_path):
    with pytest.raises(errors.InputError, match="it is a directory; give a file with"):
        jobs.run(tmp_path / "run", **{"data.only": str(tmp_path), "data.limit": None})


def test_a_file_without_ids_is_a_run_without_questions(tmp_path, capsys):
    (tmp_path / "doubtful.txt").write_text(" \n")
    only = {"data.only": str(tmp_path / "doubtful.txt"), "data.limit": None}
    assert jobs.run(tmp_path / "run", **only) == {}
    assert "doubtful.txt lists no example id" in capsys.readouterr().out
    assert jobs.read_json(tmp_path / "run", "done.json")["examples"] == 0
    assert jobs.run(tmp_path / "run", **only) == {}  # and goes on


def test_done_tells_what_is_there(finished):
    done, run = jobs.read_json(finished, "done.json"), jobs.read_json(finished, "run.json")
    assert done["examples"] == run["examples"] == 24
    assert {name.split("/")[1] for name in done["objects"]} == jobs.objects(finished).keys()
    assert run["fingerprint"]["prompt"]["name"] == "completion"
    assert run["recorded"]["versions"]["jax"]


def test_a_resumed_run_equals_an_uninterrupted_one(finished, copy, capsys):
    whole = jobs.objects(finished)
    (copy / "done.json").unlink()
    for name in sorted(whole)[::2]:
        (copy / "predictions" / name).unlink()
    kept = {path: path.stat().st_mtime_ns for path in (copy / "predictions").glob("*.jsonl")}
    jobs.run(copy)
    there = f"resuming: {len(kept)} of {len(whole)} units written before"
    assert there in capsys.readouterr().out
    assert jobs.objects(copy) == whole
    assert (copy / "done.json").read_bytes() == (finished / "done.json").read_bytes()
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


@pytest.mark.parametrize("size", [0, 100, -100])
def test_a_broken_unit_is_told_and_computed_again_by_the_same_command(finished, copy, capsys, size):
    (copy / "done.json").unlink()
    path = sorted((copy / "predictions").iterdir())[1]
    path.write_bytes(path.read_bytes()[:size])
    jobs.run(copy)
    said = capsys.readouterr().out
    assert f"broken: predictions/{path.name}: " in said
    assert "1 broken unit, computed again; what was there is kept in broken/" in said
    assert jobs.objects(copy) == jobs.objects(finished)
    assert (copy / "done.json").read_bytes() == (finished / "done.json").read_bytes()


def test_a_unit_that_changed_after_the_end_is_computed_again_where_asked_for(finished, copy):
    path = sorted((copy / "predictions").iterdir())[1]
    path.write_bytes(b"")
    with pytest.raises(errors.RefusedError, match=f"{path.name}: .*--config.redo=True"):
        jobs.run(copy)
    jobs.run(copy, redo=True)
    assert jobs.objects(copy) == jobs.objects(finished)
    assert (copy / "done.json").read_bytes() == (finished / "done.json").read_bytes()


def test_a_broken_run_json_is_started_over_as_the_message_says(finished, copy):
    (copy / "run.json").write_bytes(b"")
    with pytest.raises(errors.InputError, match="--config.overwrite=True"):
        jobs.run(copy)
    jobs.run(copy, overwrite=True)
    assert jobs.objects(copy) == jobs.objects(finished)


def test_a_finished_run_needs_no_model(copy, monkeypatch, capsys):
    monkeypatch.setattr(predict, "load_sampler", lambda *_: pytest.fail("built a sampler"))
    jobs.run(copy)
    assert "all done before" in capsys.readouterr().out


@pytest.mark.slow
def test_batch_size_and_prefill_change_nothing(finished, tmp_path):
    jobs.run(tmp_path / "other", batch_size=3, prefill_tokens=300)
    assert jobs.objects(tmp_path / "other") == jobs.objects(finished)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"sampling.seed": 1}, "sampling.seed"),
        ({"data.limit": 23}, "data.limit"),
        ({"prompt": "zero_shot"}, "prompt.name"),
        ({"model.source": "dummy:1"}, "model.weights_sha256"),
        ({"unit_size": 5}, "unit_size"),
    ],
)
def test_another_fingerprint_is_refused_with_the_field(copy, values, field):
    with pytest.raises(errors.RefusedError, match=field):
        jobs.run(copy, **values)


def test_overwrite_starts_over(copy):
    objects = [*copy.glob("*.json"), *copy.glob("predictions/*")]
    before = {path: path.stat().st_mtime_ns for path in objects}
    jobs.run(copy, **{"overwrite": True, "sampling.seed": 1})
    assert jobs.read_json(copy, "run.json")["fingerprint"]["sampling"]["seed"] == 1
    assert len(jobs.read_rows(copy)) == 24
    assert all(path.stat().st_mtime_ns > time for path, time in before.items())


def test_overwrite_is_refused_with_several_processes(copy):
    process = distributed.Process(index=0, count=2)
    config = jobs.make_config(copy, overwrite=True)
    with pytest.raises(errors.RefusedError, match="config.overwrite with 2 processes"):
        job.run(config, signals.TerminationWatch(grace_seconds=1), process)
    assert len(jobs.read_rows(copy)) == 24


def test_a_prompt_that_is_too_long_is_a_row(finished, tmp_path, capsys):
    """The dummy's tokenizer makes a token of each letter."""
    data = shutil.copytree(sources.SAMPLE, tmp_path / "data")
    records = json.loads((data / "dev.json").read_text())
    for index in (0, 7):
        records[index]["question"] += " Really?" * 100
    (data / "dev.json").write_text(json.dumps(records))
    rows = jobs.run(tmp_path / "run", **{"data.path": str(data)})
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "Without an answer: 2 prompts of more than 1,024 tokens, the largest of --config." in said
    )
    whole = jobs.read_rows(finished)
    assert rows.keys() == whole.keys()
    for name, row in rows.items():
        long = name in ("dev/0000", "dev/0007")
        assert (row.status == "prompt_too_long") == (row.prompt_tokens > 1024) == long
        if long:
            assert (row.text, row.sql, row.output_tokens) == ("", "", 0)
        else:
            assert row == whole[name]


def test_questions_without_gold(finished, tmp_path):
    data = shutil.copytree(sources.SAMPLE, tmp_path / "data")
    records = json.loads((data / "dev.json").read_text())
    fields = [{"db_id": record["db_id"], "question": record["question"]} for record in records]
    (data / "dev.json").write_text(json.dumps(fields))
    rows = jobs.run(tmp_path / "run", **{"data.path": str(data)})
    whole = jobs.read_rows(finished)
    assert rows == {name: dataclasses.replace(row, gold=None) for name, row in whole.items()}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"output": ""}, "config.output"),
        ({"batch_size": 0}, "config.batch_size is 0"),
        ({"data.limit": 0}, "config.data.limit is 0"),
        ({"data.only": "ids.txt"}, "config.data.only is 'ids.txt'; it has to be empty with data.l"),
        ({"data.path": "/nowhere"}, "/nowhere"),
        ({"data.split": "test"}, "test"),
        ({"prompt": "poem"}, "config.prompt is 'poem'"),
        ({"model.name": "gemma9"}, "gemma9"),
        ({"model.dtype": "int3"}, "model.dtype is 'int3'"),
        ({"prompt_buckets": (64, 32)}, "prompt_buckets"),
        ({"prompt_buckets": ("long",)}, "prompt_buckets"),
        ({"sampling.temperature": -1.0}, "sampling.temperature"),
    ],
)
def test_bad_values_are_named(tmp_path, values, message):
    with pytest.raises(errors.InputError, match=message):
        jobs.run(**({"output": tmp_path / "run"} | values))
    assert not (tmp_path / "run").exists()  # it would refuse the values put right


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model.tokenizer": "/etc/hostname"}, "--config.model.tokenizer: /etc/hostname"),
        ({"model.name": "gemma3_270m"}, "512 pieces and the model 262,144"),
    ],
)
def test_a_model_that_does_not_fit_leaves_no_run(tmp_path, values, message):
    with pytest.raises(errors.InputError, match=message):
        jobs.run(tmp_path / "run", **values)
    assert not (tmp_path / "run").exists()  # it would refuse the values put right
