import json

import pytest
import report_world as world

from t2sql import errors
from t2sql.report import predictions, questions
from t2sql.runs import predictions as rows_lib


@pytest.fixture
def data(tmp_path):
    return world.make_data(tmp_path / "data")


def read(data, split="dev", limit=None, gold=None, required=True):
    return questions.read_questions(data, split=split, limit=limit, gold=gold, required=required)


def gathered(url, asked, **options):
    return predictions.gather_run(str(url), predictions.open_run(str(url)), asked, **options)


def test_a_complete_run_has_one_answer_per_question_in_their_order(tmp_path, data):
    sqls = [f"SELECT {i}" for i in range(6)]
    world.make_run(str(tmp_path / "run"), data, sqls, statuses={3: "max_tokens"})
    asked = read(data)
    system = gathered(tmp_path / "run", asked)
    answers = list(system.answers())
    assert [answer.sql for answer in answers] == sqls
    assert [answer.status for answer in answers] == ["ok"] * 3 + ["max_tokens"] + ["ok"] * 2
    assert answers[0].text == "```sql\nSELECT 0\n```"
    assert system.problems == ()


def test_a_run_on_gs_reads_like_a_local_one(bucket, data):
    sqls = [f"SELECT {i}" for i in range(6)]
    world.make_run(f"{bucket}/run", data, sqls)
    asked = read(data)
    system = gathered(f"{bucket}/run", asked)
    assert [answer.sql for answer in system.answers()] == sqls
    assert system.problems == ()


def test_missing_units_and_their_examples_are_named(tmp_path, data):
    world.make_run(str(tmp_path / "run"), data, world.golds(), without_units=1)
    asked = read(data)
    system = gathered(tmp_path / "run", asked)
    kinds = {problem.kind: problem for problem in system.problems}
    assert set(kinds) == {"missing_units", "missing_examples"}
    [unit] = kinds["missing_units"].names
    assert unit.startswith("predictions/unit-0000")
    statuses = [answer.status for answer in system.answers()]
    missing = [e.example_id for e, s in zip(asked, statuses, strict=True) if s == "missing"]
    assert missing
    assert tuple(missing) == kinds["missing_examples"].names


def test_a_corrupted_unit_is_named_and_its_examples_are_missing(tmp_path, data):
    run = world.make_run(str(tmp_path / "run"), data, world.golds())
    name = sorted(run.names("predictions/"))[0]
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes().replace(b"SELECT", b"SELECT "))
    kinds = {problem.kind: problem for problem in gathered(tmp_path / "run", read(data)).problems}
    assert "crc32c" in str(kinds["damaged_units"])
    assert name in str(kinds["damaged_units"])
    assert kinds["missing_examples"].names


def test_duplicated_and_foreign_examples_are_named(tmp_path, data):
    run = world.make_run(str(tmp_path / "run"), data, world.golds())
    run.delete(["done.json", *run.names("checksums/")])
    name = sorted(run.names("predictions/"))[0]
    path = tmp_path / "run" / name
    first, *others = rows_lib.decode_rows(path.read_bytes(), name=name)
    foreign = world.replace_row(first, example_id="dev/9999")
    path.write_bytes(rows_lib.encode_rows([first, first, foreign, *others]))
    kinds = {problem.kind: problem for problem in gathered(tmp_path / "run", read(data)).problems}
    assert set(kinds) == {"duplicated_examples", "foreign_examples", "not_done"}
    assert kinds["duplicated_examples"].names == (first.example_id,)
    assert kinds["foreign_examples"].names == ("dev/9999",)


def test_a_run_without_done_json_is_incomplete(tmp_path, data):
    world.make_run(str(tmp_path / "run"), data, world.golds())
    (tmp_path / "run" / "done.json").unlink()
    [problem] = gathered(tmp_path / "run", read(data)).problems
    assert problem.kind == "not_done"


def test_a_run_over_other_data_is_refused(tmp_path, data):
    world.make_run(str(tmp_path / "run"), data, world.golds())
    records = [(db, f"{asked} Please.", gold) for db, asked, gold in world.RECORDS]
    other = world.make_data(tmp_path / "other", records)
    with pytest.raises(errors.InputError, match="the run was made from other data"):
        gathered(tmp_path / "run", read(other))


def test_a_run_over_another_split_is_refused(tmp_path, data):
    world.make_data(data, split="test")
    world.make_run(str(tmp_path / "run"), data, world.golds(), split="test")
    with pytest.raises(errors.InputError, match="a run over the split 'test'"):
        gathered(tmp_path / "run", read(data))


def test_a_baseline_may_hold_more_examples_and_says_so(tmp_path, data):
    world.make_run(str(tmp_path / "run"), data, world.golds())
    system = gathered(tmp_path / "run", read(data, limit=4), partial=True)
    assert system.problems == ()
    assert "2 more examples" in system.notes[0]


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match="run.json"):
        predictions.open_run(str(tmp_path))


def test_a_run_that_does_not_say_its_split_is_refused(tmp_path, data):
    world.make_run(str(tmp_path / "run"), data, world.golds())
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    del manifest["fingerprint"]["data"]["split"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(errors.InputError, match="fingerprint.data.split"):
        predictions.open_run(str(tmp_path / "run"))


def write_lines(path, lines, end="\n"):
    path.write_text("".join(line + end for line in lines), newline="")
    return str(path)


def test_a_file_is_evaluated_as_it_stands(tmp_path, data):
    lines = [f"```sql SELECT {i}```" for i in range(6)]
    asked = read(data, required=False)
    system = predictions.gather_file(write_lines(tmp_path / "p", lines), asked, cleaned=False)
    assert [answer.sql for answer in system.answers()] == lines
    cleaned = predictions.gather_file(system.source, asked, cleaned=True)
    assert [answer.sql for answer in cleaned.answers()] == [f"SELECT {i}" for i in range(6)]
    assert [answer.text for answer in cleaned.answers()] == lines


def test_a_file_with_crlf_blank_lines_and_db_ids_is_taken(tmp_path, data):
    lines = ["SELECT 0\tschool", "", "SELECT 2", "SELECT 3", "SELECT 4", ""]
    asked = read(data, required=False)
    system = predictions.gather_file(
        write_lines(tmp_path / "p", lines, "\r\n"), asked, cleaned=False
    )
    expected = ["SELECT 0", "", "SELECT 2", "SELECT 3", "SELECT 4", ""]
    assert [answer.sql for answer in system.answers()] == expected


@pytest.mark.parametrize("count", [5, 7])
def test_a_file_of_another_length_is_refused_with_both_numbers(tmp_path, data, count):
    path = write_lines(tmp_path / "p", ["SELECT 1"] * count)
    with pytest.raises(errors.InputError, match=f"{count} lines, but .*dev has 6 examples"):
        predictions.gather_file(path, read(data, required=False), cleaned=False)


def test_lines_that_are_cut_at_a_tab_are_counted(tmp_path, data):
    lines = ["SELECT 0\tschool", "SELECT 1 +\t1", "SELECT 2", "\tschool", "SELECT 4\t;", "SELECT 5"]
    asked = read(data, required=False)
    system = predictions.gather_file(write_lines(tmp_path / "p", lines), asked, cleaned=False)
    expected = ["SELECT 0", "SELECT 1 +", "SELECT 2", "", "SELECT 4", "SELECT 5"]
    assert [answer.sql for answer in system.answers()] == expected
    [note] = system.notes
    assert note.startswith("2 lines of ") and "cut at the first tab" in note
    assert predictions.gather_file(system.source, asked, cleaned=True).notes == ()
