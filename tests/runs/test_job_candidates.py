"""The main job with several answers to a question: what its rows and its `run.json` hold."""

import jobs
import pytest

from t2sql import errors
from t2sql.choose import within_run
from t2sql.runs import job, manifest
from t2sql.runtime import signals

SEVERAL = {"sampling.samples": 3, "sampling.temperature": 1.0, "data.limit": 6}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A greedy run, and one with three answers to a question."""
    folder = tmp_path_factory.mktemp("runs")
    jobs.run(folder / "greedy", **{"data.limit": 6})
    jobs.run(folder / "several", **SEVERAL)
    return folder / "greedy", folder / "several"


def test_rows_list_the_answers_and_the_first_is_the_greedy_one(outputs):
    greedy, several = map(jobs.read_rows, outputs)
    for example_id, row in several.items():
        assert len(row.candidates) == 3
        assert row.candidates[0].text == row.text == greedy[example_id].text
        assert all(candidate.logprob < 0 for candidate in row.candidates)
        assert not greedy[example_id].candidates
    texts = [{candidate.text for candidate in row.candidates} for row in several.values()]
    assert max(map(len, texts)) > 1


def test_a_run_with_one_answer_keeps_its_fingerprint_and_another_is_told_apart(outputs):
    greedy, several = (jobs.read_json(output, "run.json")["fingerprint"] for output in outputs)
    assert greedy["output_version"] == manifest.OUTPUT_VERSION
    assert not {"samples", "logprobs", "beams", "length_penalty"} & greedy["sampling"].keys()
    assert several["output_version"] == manifest.CANDIDATES_VERSION
    assert several["sampling"]["samples"] == 3
    with pytest.raises(errors.RefusedError, match=r"sampling\.samples: the run has 3"):
        jobs.run(outputs[1], **SEVERAL | {"sampling.samples": 2})


def test_a_run_can_keep_the_answer_that_is_chosen(outputs, tmp_path):
    """The candidates are those of the run that keeps the first one."""
    config = jobs.make_config(tmp_path, **SEVERAL | {"sampling.choose": "vote"})
    watch = signals.TerminationWatch(grace_seconds=1)

    def choose_the_last(rows):
        return [within_run.with_candidate(row, 2) for row in rows]

    job.run(config, watch, choose=choose_the_last)
    several, chosen = jobs.read_rows(outputs[1]), jobs.read_rows(tmp_path)
    for example_id, row in chosen.items():
        assert row.candidates == several[example_id].candidates
        assert row.text == row.candidates[2].text
    assert jobs.read_json(tmp_path, "run.json")["fingerprint"]["sampling"]["choose"] == "vote"


def test_beams_are_candidates_the_best_first(tmp_path):
    beams = {"sampling.beams": 2, "sampling.length_penalty": 1.0, "data.limit": 3}
    jobs.run(tmp_path, **beams)
    for row in jobs.read_rows(tmp_path).values():
        first, second = row.candidates
        assert (row.text, row.sql) == (first.text, first.sql)
        assert first.mean_logprob >= second.mean_logprob
    fingerprint = jobs.read_json(tmp_path, "run.json")["fingerprint"]
    assert fingerprint["output_version"] == manifest.CANDIDATES_VERSION
    assert fingerprint["sampling"]["beams"] == 2
    with pytest.raises(errors.RefusedError, match=r"sampling\.length_penalty: the run has 1\.0"):
        jobs.run(tmp_path, **beams | {"sampling.length_penalty": 0.5})


def test_no_more_beams_than_the_batch_has_slots(tmp_path):
    with pytest.raises(errors.InputError, match="beams is 9; .* at most --config.batch_size.* 8"):
        jobs.run(tmp_path, **{"sampling.beams": 9, "batch_size": 8})


@pytest.mark.parametrize("choose", ["vote", "best"])
def test_a_choice_needs_several_answers_and_a_name(tmp_path, choose):
    with pytest.raises(errors.InputError, match="sampling.choose .* 'vote' with sampling.samples"):
        jobs.run(tmp_path, **{"sampling.choose": choose})
