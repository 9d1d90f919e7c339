"""The main job on the sample data with the dummy model."""

import shutil

import jobs
import pytest

from t2sql import distributed, errors, job, signals
from t2sql.scoring.clean import clean_sql
from t2sql.spider import examples as examples_lib
from t2sql.spider import sources


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


def test_done_tells_what_is_there(finished):
    done, run = jobs.read_json(finished, "done.json"), jobs.read_json(finished, "run.json")
    assert done["examples"] == run["examples"] == 24
    assert {name.split("/")[1] for name in done["objects"]} == jobs.objects(finished).keys()
    assert run["fingerprint"]["prompt"]["name"] == "completion"
    assert run["recorded"]["versions"]["jax"]


def test_a_resumed_run_equals_an_uninterrupted_one(finished, copy):
    whole = jobs.objects(finished)
    (copy / "done.json").unlink()
    for name in sorted(whole)[::2]:
        (copy / "predictions" / name).unlink()
    kept = {path: path.stat().st_mtime_ns for path in (copy / "predictions").glob("*.jsonl")}
    jobs.run(copy)
    assert jobs.objects(copy) == whole
    assert (copy / "done.json").read_bytes() == (finished / "done.json").read_bytes()
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def test_a_finished_run_needs_no_model(copy, monkeypatch, capsys):
    monkeypatch.setattr("t2sql.job._make_sampler", lambda *_: pytest.fail("built a sampler"))
    jobs.run(copy)
    assert "all done before" in capsys.readouterr().out


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
    rows = jobs.run(copy, **{"overwrite": True, "data.limit": 3})
    assert len(rows) == 3


def test_overwrite_is_refused_with_several_processes(copy):
    process = distributed.Process(index=0, count=2)
    config = jobs.make_config(copy, overwrite=True)
    with pytest.raises(errors.RefusedError, match="config.overwrite with 2 processes"):
        job.run(config, signals.TerminationWatch(grace_seconds=1), process)
    assert len(jobs.read_rows(copy)) == 24


def test_a_prompt_that_is_too_long_is_a_row(tmp_path):
    """The sample's prompts have about 200 tokens of the real model, 600 to 900 of the dummy's."""
    rows = jobs.run(tmp_path / "short", prompt_buckets=(256, 800))
    statuses = {row.status for row in rows.values()}
    assert len(rows) == 24
    assert "prompt_too_long" in statuses and len(statuses) > 1
    for row in rows.values():
        long = row.prompt_tokens > 800
        assert (row.status == "prompt_too_long") == long
        if long:
            assert (row.text, row.sql, row.output_tokens) == ("", "", 0)


def test_questions_without_gold(tmp_path):
    data = shutil.copytree(sources.SAMPLE, tmp_path / "data")
    (data / "dev.json").write_text('[{"db_id": "library", "question": "How many books?"}]')
    rows = jobs.run(tmp_path / "run", **{"data.path": str(data)})
    assert rows["dev/0000"].gold is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"output": ""}, "config.output"),
        ({"batch_size": 0}, "config.batch_size is 0"),
        ({"data.limit": 0}, "config.data.limit is 0"),
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


def test_predictions_are_shown_in_the_order_of_the_data(tmp_path, capsys):
    jobs.run(tmp_path / "run", **{"data.limit": 4, "show": True})
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("dev/")]
    assert shown == ["dev/0000", "dev/0001", "dev/0002", "dev/0003"]
