"""The command from end to end."""

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import child_cpu
import pytest
import report_pages as pages
import report_world as world

from t2sql import errors
from t2sql.report import command
from t2sql.storage import output_files

FILES = {"report.html", "report.json", "report.md", "verdicts.jsonl", "predict.txt", "gold.txt"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


def run(*flags, expect=0):
    program = [sys.executable, "-m", "t2sql.report", *(str(flag) for flag in flags)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@dataclasses.dataclass(frozen=True)
class Done:
    """What a report that was made in this process printed."""

    stdout: str
    stderr: str


def report(predictions, data, output, *, expect=0, **options) -> tuple[Done, dict]:
    """Makes a report here, which is faster than in a process of its own."""
    given = {"predictions": predictions, "data": data, "output": output} | options
    paths = {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command.report(command.Options(**paths))
    assert code == expect, err.getvalue()
    summary = json.loads((Path(output) / "report.json").read_text())
    return Done(out.getvalue(), err.getvalue()), summary


def write(path: Path, lines) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def rows(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "verdicts.jsonl").read_text().splitlines()]


def test_a_run_over_some_examples_is_evaluated_on_these(tmp_path, data):
    ids = ["dev/0003", "dev/0001"]
    golds = world.golds()
    world.make_run(str(tmp_path / "some"), data, [golds[1], "SELECT 1"], only=ids)
    world.make_run(str(tmp_path / "all"), data, golds)
    _, summary = report(tmp_path / "some", data, tmp_path / "out", baseline=str(tmp_path / "all"))
    assert (
        summary["accuracy"]["all"]["execution"] | {"count": 1, "total": 2}
        == (summary["accuracy"]["all"]["execution"])
    )
    executions = {row["example_id"]: row["execution"] for row in rows(tmp_path / "out")}
    assert executions == {"dev/0001": True, "dev/0003": False}


def test_a_perfect_run(tmp_path, data):
    world.make_run(str(tmp_path / "run"), data, world.golds())
    done, summary = report(tmp_path / "run", data, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    for measure in ("execution", "exact_match", "valid"):
        assert summary["accuracy"]["all"][measure]["count"] == 6
    assert summary["system"]["provenance"]["model"] == "tiny"
    assert summary["system"]["provenance"]["prompt"] == "article"
    assert summary["data"]["empty_databases"] == {"shop": 1}
    assert summary["accuracy"]["with_rows"]["execution"]["total"] == 5
    assert summary["errors"] == {}
    assert "100.0" in done.stdout and "shop" in done.stdout
    assert (tmp_path / "out" / "gold.txt").read_text().splitlines()[0].endswith("\tschool")


def test_a_wrong_file_is_diagnosed_row_by_row(tmp_path, data):
    predictions = [
        "SELECT count(*) FROM student WHERE age > 40",
        "SELECT name FROM student ORDER BY age",
        "SELECT naem FROM student WHERE age > 35",
        world.golds()[3],
        "SELECT id FROM item",
        "",
    ]
    path = write(tmp_path / "predict.txt", predictions)
    _, summary = report(path, data, tmp_path / "out")
    verdicts = rows(tmp_path / "out")
    assert [row["execution"] for row in verdicts] == [False, False, False, True, True, False]
    assert [row["valid"] for row in verdicts] == [True, True, False, True, True, False]
    expected = ["extra_filter", "wrong_order", "invented_column", None, "wrong_columns", "empty"]
    for row, error in zip(verdicts, expected, strict=True):
        assert row["errors"] == [] if error is None else error in row["errors"], row
    assert all(row["findings"][0]["message"] for row in verdicts if row["errors"])
    assert summary["diagnosed"] == 5
    official = (tmp_path / "out" / "predict.txt").read_text().splitlines()
    assert official == [*predictions[:5], "SELECT"]


def test_an_incomplete_run_is_reported_on_and_exits_with_3(tmp_path, data):
    world.make_run(str(tmp_path / "run"), data, world.golds(), without_units=1)
    done, summary = report(tmp_path / "run", data, tmp_path / "out", expect=3)
    assert "1 unit missing: predictions/unit-" in done.stderr
    assert not summary["system"]["complete"]
    missing = summary["system"]["statuses"]["missing"]
    assert summary["accuracy"]["all"]["execution"] | {"low": 0, "high": 0} == {
        "count": 6 - missing,
        "total": 6,
        "share": (6 - missing) / 6,
        "low": 0,
        "high": 0,
    }
    assert "Incomplete run" in (tmp_path / "out" / "report.html").read_text()
    report(tmp_path / "run", data, tmp_path / "out", allow_incomplete=True)


def test_a_corrupted_unit_is_named(tmp_path, data):
    run = world.make_run(str(tmp_path / "run"), data, world.golds())
    name = sorted(run.names("predictions/"))[0]
    (tmp_path / "run" / name).write_bytes(b"\x00garbage")
    done, _ = report(tmp_path / "run", data, tmp_path / "out", expect=3)
    assert "1 damaged unit" in done.stderr and name in done.stderr


def test_a_baseline_is_compared(tmp_path, data):
    world.make_run(str(tmp_path / "run"), data, world.golds())
    worse = [*world.golds()[:3], "SELECT 1", "SELECT 1", "SELECT nothing"]
    base = write(tmp_path / "base.txt", worse)
    done, summary = report(tmp_path / "run", data, tmp_path / "out", baseline=base)
    change = summary["baseline"]["execution"]
    assert (change["better"], change["worse"], change["both_right"]) == (3, 0, 3)
    assert summary["baseline"]["better"] == ["dev/0003", "dev/0004", "dev/0005"]
    assert summary["baseline"]["system"]["name"] == "base.txt"
    assert rows(tmp_path / "out")[5]["baseline"]["execution"] is False
    assert "against the baseline" in done.stdout
    assert "McNemar" in (tmp_path / "out" / "report.md").read_text()


def test_questions_without_gold_are_shown_without_a_verdict(tmp_path):
    records = [("school", "How old is Ada?", "SELECT 1"), ("school", "Who?", "SELECT 2")]
    data = world.make_data(tmp_path / "data", records)
    examples = json.loads((data / "dev.json").read_text())
    del examples[1]["query"]
    (data / "dev.json").write_text(json.dumps(examples))
    world.make_run(str(tmp_path / "run"), data, ["SELECT 1", "SELECT name FROM student"])
    _, summary = report(tmp_path / "run", data, tmp_path / "out")
    assert summary["data"]["unjudged"] == 1
    assert summary["accuracy"]["all"]["execution"]["total"] == 1
    assert summary["accuracy"]["all"]["valid"]["total"] == 2
    row = rows(tmp_path / "out")[1]
    assert row["execution"] is row["exact_match"] is row["hardness"] is None
    assert len((tmp_path / "out" / "predict.txt").read_text().splitlines()) == 1


def test_a_gold_query_that_fails_is_reported_and_never_dropped(tmp_path, data):
    gold = write(tmp_path / "g.sql", ["SELECT nothing FROM student\tschool", "SELECT 2\tschool"])
    path = write(tmp_path / "p.txt", ["SELECT 1", "SELECT 2"])
    done, summary = report(path, data, tmp_path / "out", gold=gold)
    assert f"{gold}: record 0: its SQL does not run on its database: error: near" in done.stderr
    [failure] = summary["data"]["gold_failures"]
    assert failure["example_id"] == "g/0000"
    assert "nothing" in failure["message"]
    assert summary["accuracy"]["all"]["execution"]["total"] == 2
    assert summary["accuracy"]["all"]["execution"]["count"] == 1


def test_gold_that_fails_is_named_by_file_record_and_field(tmp_path):
    records = [*world.RECORDS, ("school", "Names?", "SELECT nme FROM student")]
    data = world.make_data(tmp_path / "data", records)
    path = write(tmp_path / "p.txt", world.golds(records))
    done, _ = report(path, data, tmp_path / "out")
    told = "dev.json: record 6: field 'query' does not run on its database: error: no such column"
    assert told in done.stderr


def test_several_files_under_one_db_id_all_have_to_agree(tmp_path):
    data = world.make_data(tmp_path / "data", [("school", "Ids?", "SELECT id FROM student")])
    folder = data / "database" / "school"
    shutil.copy(folder / "school.sqlite", folder / "school_2.sqlite")
    path = write(tmp_path / "p.txt", ["SELECT id FROM student"])
    done, summary = report(path, data, tmp_path / "out")
    assert summary["data"]["several_files"] == {"school": 2}
    assert "several SQLite files" in done.stdout


def test_databases_are_all_the_data_that_a_gold_file_needs(tmp_path, data):
    shutil.copytree(data / "database", tmp_path / "bare" / "database")
    gold = write(tmp_path / "g.sql", ["SELECT 1\tschool", "SELECT 2\tshop"])
    path = write(tmp_path / "p.txt", ["SELECT 1", "SELECT 3"])
    _, summary = report(path, tmp_path / "bare", tmp_path / "out", gold=gold)
    assert summary["accuracy"]["all"]["execution"]["count"] == 1
    with pytest.raises(errors.InputError, match=r"no split 'dev': dev\.json is not there"):
        report(path, tmp_path / "bare", tmp_path / "no")


def test_one_of_a_kind_is_no_plural(tmp_path, data):
    gold = write(tmp_path / "g.sql", ["SELECT 1\tshop"])
    done, _ = report(write(tmp_path / "p.txt", ["SELECT 2"]), data, tmp_path / "out", gold=gold)
    told = done.stdout + (tmp_path / "out" / "report.md").read_text()
    assert "(1 example)" in told and "1 database " in told and "Of 1 diagnosed example;" in told


def test_crlf_predictions_score_like_any_other(tmp_path, data):
    path = tmp_path / "p.txt"
    path.write_bytes("\r\n".join(world.golds()).encode())
    _, summary = report(path, data, tmp_path / "out")
    assert summary["accuracy"]["all"]["execution"]["count"] == 6


def test_clean_takes_sql_out_of_prose(tmp_path, data):
    lines = [f"Sure! ```sql {sql}``` Hope it helps." for sql in world.golds()]
    path = write(tmp_path / "p.txt", lines)
    assert report(path, data, tmp_path / "a")[1]["accuracy"]["all"]["execution"]["count"] == 0
    _, summary = report(path, data, tmp_path / "b", clean=True)
    assert summary["accuracy"]["all"]["execution"]["count"] == 6


def test_hostile_predictions_change_nothing_but_their_own_verdict(tmp_path, data):
    before = {path: path.read_bytes() for path in data.rglob("*.sqlite")}
    lines = [
        "DROP TABLE student",
        "ATTACH '/tmp/t2sql_report_hostile' AS x",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT count(*) FROM c",
        world.golds()[3],
        "<script>alert(1)</script>",
        "SELECT " + "(" * 3000 + "1" + ")" * 3000,
    ]
    path = write(tmp_path / "p.txt", lines)
    _, summary = report(path, data, tmp_path / "out", timeout=1.0)
    assert [row["execution"] for row in rows(tmp_path / "out")][3] is True
    assert "timeout" in rows(tmp_path / "out")[2]["errors"]
    assert {path: path.read_bytes() for path in before} == before
    assert "<script>alert" not in (tmp_path / "out" / "report.html").read_text()
    assert "<script>alert" not in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_report_leaves_nothing_behind(tmp_path, data, number, code):
    slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT count(*) FROM c"
    path = write(tmp_path / "p.txt", [*world.golds()[:5], slow])
    program = [sys.executable, "-m", "t2sql.report", f"--predictions={path}", f"--data={data}"]
    process = subprocess.Popen([*program, f"--output={tmp_path / 'out'}", "--timeout=60"])
    wait_until(lambda: commands_below(process.pid).count("\n") >= 2)
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    assert not (tmp_path / "out").exists()


def test_workers_end_with_a_killed_report(tmp_path, data):
    path = write(tmp_path / "p.txt", world.golds())
    slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT count(*) FROM c"
    path.write_text(f"{slow}\n" * 6)
    program = [sys.executable, "-m", "t2sql.report", f"--predictions={path}", f"--data={data}"]
    process = subprocess.Popen(
        [*program, f"--output={tmp_path / 'out'}", "--timeout=60"], start_new_session=True
    )
    wait_until(lambda: commands_below(process.pid).count("\n") >= 2)
    process.kill()
    process.wait()
    wait_until(lambda: not commands_in_session(process.pid))


def wait_until(condition, seconds: float = 30.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


def commands_below(pid: int) -> str:
    listed = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(pid)], capture_output=True, text=True
    )
    return listed.stdout


def commands_in_session(pid: int) -> str:
    listed = subprocess.run(["ps", "-o", "args=", "-s", str(pid)], capture_output=True, text=True)
    return listed.stdout


def test_as_users_run_it(tmp_path, data):
    """In a process of its own; the output is plain where there is no terminal."""
    world.make_run(str(tmp_path / "run"), data, world.golds(), without_units=1)
    flags = [f"--predictions={tmp_path / 'run'}", f"--data={data}", f"--output={tmp_path / 'out'}"]
    done = run(*flags, expect=3)
    assert "all" in done.stdout and "\x1b" not in done.stdout
    assert "--allow_incomplete to accept it" in done.stderr
    run(*flags, "--allow_incomplete")


def test_bad_input_is_refused_by_name(tmp_path, data):
    golds = write(tmp_path / "p.txt", world.golds())
    short = write(tmp_path / "short.txt", world.golds()[:4])
    zoo = write(tmp_path / "zoo.sql", ["SELECT 1\tzoo"])
    (tmp_path / "latin.txt").write_bytes(b"SELECT 'caf\xe9'\n")
    (tmp_path / "empty").mkdir()
    world.make_data(data, split="test")
    world.make_run(str(tmp_path / "test_run"), data, world.golds(), split="test")
    world.make_run(str(tmp_path / "dev_run"), data, world.golds())
    cases = (
        ({"predictions": short}, "4 lines, but .* 6 examples"),
        ({"predictions": tmp_path / "latin.txt"}, "line 1: not UTF-8"),
        ({"predictions": tmp_path / "none.txt"}, "none.txt: cannot be read: No such file"),
        ({"predictions": tmp_path / "empty"}, "run.json"),
        ({"data": tmp_path / "no"}, "no such data directory"),
        ({"gold": zoo}, "zoo.sql, line 1: there is no database 'zoo'"),
        ({"gold": tmp_path / "none.sql"}, "none.sql: cannot be read"),
        ({"output": golds / "x"}, "cannot be written: Not a directory"),
        ({"output": "gs://bucket/report"}, "local directory"),
        ({"split": "train"}, "no split 'train'"),
        ({"predictions": tmp_path / "test_run", "split": "dev"}, "--split=dev, but .* 'test'"),
        (
            {"predictions": tmp_path / "dev_run", "baseline": tmp_path / "test_run"},
            "a run over the split 'test', but .*split dev is evaluated",
        ),
        ({"predictions": tmp_path / "test_run", "clean": True}, "--clean: there is no"),
    )
    for changes, message in cases:
        options = {"predictions": golds, "data": data, "output": tmp_path / "out"} | changes
        paths = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
        with pytest.raises(errors.InputError) as raised:
            command.report(command.Options(**paths))
        assert re.search(message, str(raised.value)), (changes, raised.value)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [[], ["--workers=0"], ["--nonsense=1"], ["stray"], ["--timeout=nan"], ["--timeout=inf"]],
)
def test_wrong_flags_exit_with_2(tmp_path, data, flags):
    always = [] if not flags else [f"--predictions={tmp_path}", f"--data={data}", "--output=x"]
    run(*always, *flags, expect=2)


def test_starts_in_under_two_seconds_without_jax():
    before = child_cpu.ended()
    run("--help", expect=0)
    assert child_cpu.ended() - before < 2
    program = (
        "import sys, t2sql.report.__main__, t2sql.report.command; "
        "heavy = {'jax', 'gemma', 'tensorflow', 'torch', 'flax'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    before = child_cpu.ended()
    subprocess.run([sys.executable, "-c", program], check=True)
    assert child_cpu.ended() - before < 2


@pytest.mark.slow
@pytest.mark.spider
def test_all_of_spider_dev_is_scored_in_under_20_seconds(tmp_path):
    spider = os.environ.get("T2SQL_SPIDER_DIR")
    assert spider, "T2SQL_SPIDER_DIR is not set: it names the Spider directory"
    gold = Path(spider) / "dev_gold.sql"
    lines = [line.rpartition("\t")[0] for line in gold.read_text().splitlines()]
    path = write(tmp_path / "p.txt", lines)
    started = time.monotonic()
    _, summary = report(path, spider, tmp_path / "out", gold=gold, workers=2)
    assert time.monotonic() - started < 20
    accuracy = summary["accuracy"]
    assert accuracy["all"]["execution"]["count"] == accuracy["all"]["execution"]["total"] == 1034
    assert accuracy["with_rows"]["execution"]["total"] == 972
    assert accuracy["all"]["exact_match"]["count"] == 1034
    assert list(summary["data"]["empty_databases"]) == ["wta_1"]
    assert summary["errors"] == {}


def test_official_files_leave_out_examples_without_gold(tmp_path):
    with output_files.open_output_files(str(tmp_path)) as files:
        command.write_case(files, pages.case(0, gold="SELECT 1", sql=""))
        command.write_case(files, pages.case(1, gold=None, sql="SELECT 2"))
        command.write_case(files, pages.case(2, gold="SELECT\n3", sql="SELECT\t3"))
        files.publish()
    assert (tmp_path / "predict.txt").read_text() == "SELECT\nSELECT 3\n"
    assert (tmp_path / "gold.txt").read_text() == "SELECT 1\tschool\nSELECT 3\tschool\n"
    assert [row["example_id"] for row in rows(tmp_path)] == ["dev/0000", "dev/0001", "dev/0002"]


def test_what_is_left_out_of_the_data_is_told_everywhere_once(tmp_path, data):
    shutil.copytree(data, tmp_path / "data")
    folder = tmp_path / "data" / "database" / "school"
    (folder / "._school.sqlite").write_bytes(bytes.fromhex("0005160700020000") + bytes(4000))
    with contextlib.closing(sqlite3.connect(folder / "school.sqlite")) as connection:
        connection.execute("CREATE TABLE gone (id INTEGER)")
        connection.execute("CREATE VIEW leavers AS SELECT id FROM gone")
        connection.execute("DROP TABLE gone")
    path = write(tmp_path / "p.txt", [*world.golds()[:5], "SELECT id FROM leavers"])
    done, summary = report(path, tmp_path / "data", tmp_path / "out")
    assert summary["data"]["several_files"] == {}
    assert summary["accuracy"]["all"]["execution"]["count"] == 5
    shown = (tmp_path / "out" / "report.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    for what in ("._school.sqlite", "view leavers"):
        [line] = [line for line in summary["data"]["notices"] if what in line]
        assert (done.stdout + done.stderr).count(line) == 1
        assert what.replace("_", "\\_") in shown and what in page
    [finding] = rows(tmp_path / "out")[5]["findings"][:1]
    assert finding["error"] == "invalid_sql" and "no such table: main.gone" in finding["message"]


def test_gold_that_fails_on_most_files_of_a_database_ends_with_3(tmp_path, data):
    shutil.copytree(data, tmp_path / "data")
    folder = tmp_path / "data" / "database" / "school"
    for name in ("one", "two"):
        with contextlib.closing(sqlite3.connect(folder / f"{name}.sqlite")) as connection:
            connection.execute("CREATE TABLE pupil (id INTEGER)")
    path = write(tmp_path / "p.txt", world.golds())
    done, summary = report(path, tmp_path / "data", tmp_path / "out", expect=3)
    assert summary["data"]["unusable_gold"]["school"]["failed"] == 5
    assert "5 of 5 fail on 2 of its 3 SQLite files" in done.stdout.splitlines()[1]
    assert "databases of school" in done.stderr
    report(path, tmp_path / "data", tmp_path / "out", allow_incomplete=True)


def test_gold_that_fails_on_a_minority_of_files_ends_with_0(tmp_path, data):
    shutil.copytree(data, tmp_path / "data")
    folder = tmp_path / "data" / "database" / "school"
    shutil.copy(folder / "school.sqlite", folder / "one.sqlite")
    with contextlib.closing(sqlite3.connect(folder / "two.sqlite")) as connection:
        connection.execute("CREATE TABLE pupil (id INTEGER)")
    path = write(tmp_path / "p.txt", world.golds())
    _, summary = report(path, tmp_path / "data", tmp_path / "out")
    assert summary["data"]["unusable_gold"] == {}
    assert len(summary["data"]["gold_failures"]) == 5


def test_files_over_the_whole_split_serve_a_run_over_a_part(tmp_path, data):
    ids = ["dev/0003", "dev/0001"]
    golds = world.golds()
    world.make_run(str(tmp_path / "run"), data, [golds[1], golds[3]], only=ids)
    pairs = zip(golds, (record[0] for record in world.RECORDS), strict=True)
    gold = write(tmp_path / "gold.sql", [f"{sql}\t{db_id}" for sql, db_id in pairs])
    base = write(tmp_path / "base.txt", ["x", golds[1], "x", "x", "x", "x"])
    done, summary = report(tmp_path / "run", data, tmp_path / "out", gold=gold, baseline=base)
    assert summary["data"]["examples"] == 2
    assert summary["accuracy"]["all"]["execution"]["count"] == 2
    assert summary["baseline"]["better"] == ["dev/0003"]
    assert "base.txt answers the whole split (6 examples)" in done.stdout
    short = write(tmp_path / "short.txt", ["x"] * 4)
    with pytest.raises(errors.InputError, match=r"4 lines, but .* 2 examples \(6 in the whole"):
        report(tmp_path / "run", data, tmp_path / "out", baseline=short)


def test_a_set_is_compared_with_its_perturbed_twin_question_by_question(tmp_path, data):
    """As Spider-Syn beside Spider dev: other words, and the databases of the first."""
    records = [
        {"db_id": db_id, "SpiderSynQuestion": f"In other words: {asked}", "query": gold}
        for db_id, asked, gold in world.RECORDS
    ]
    twin = tmp_path / "syn"
    twin.mkdir()
    (twin / "dev.json").write_text(json.dumps(records))
    sqls = world.golds()
    before, after = tmp_path / "before.txt", tmp_path / "after.txt"
    before.write_text("\n".join(sqls))
    after.write_text("\n".join([sqls[0], "SELECT nme FROM student", *sqls[2:]]))
    _, summary = report(
        after, twin, tmp_path / "out", databases=str(data), baseline=before, baseline_data=str(data)
    )
    compared = summary["baseline"]
    assert (compared["execution"]["worse"], compared["worse"]) == (1, ["dev/0001"])
    assert compared["errors"]["invented_column"]["new"] == 1
    assert compared["data"]["path"] == str(data) and summary["data"]["path"] == str(twin)
    rows = [json.loads(line) for line in (tmp_path / "out/verdicts.jsonl").open()]
    assert rows[1]["baseline"]["question"] == world.RECORDS[1][1]
    (twin / "dev.json").write_text(json.dumps(records[:5]))
    after.write_text("\n".join(sqls[:5]))
    with pytest.raises(errors.InputError, match="has 6 examples, and .* 5: they are no twins"):
        report(
            after, twin, tmp_path / "o", databases=str(data), baseline=before, baseline_data=data
        )


def test_birds_predictions_come_in_and_go_out_as_its_json(tmp_path, data):
    bird = tmp_path / "bird"
    shutil.copytree(data / "database", bird / "dev_databases")
    levels = ("simple", "moderate", "challenging")
    records = [
        {"question_id": 7 + i, "db_id": db, "question": asked, "evidence": "", "SQL": gold}
        | {"difficulty": levels[i % 3]}
        for i, (db, asked, gold) in enumerate(world.RECORDS)
    ]
    (bird / "dev.json").write_text(json.dumps(records))
    answers = {
        str(record["question_id"]): f"{record['SQL']}\t----- bird -----\t{record['db_id']}"
        for record in records
    }
    path = tmp_path / "predict.json"
    path.write_text(json.dumps(answers))
    done, summary = report(path, bird, tmp_path / "out")
    assert summary["accuracy"]["all"]["execution"]["share"] == 1
    assert summary["accuracy"]["all"]["soft_f1"] == 1
    assert tuple(summary["by"]["feature"]["difficulty"]) == levels
    assert "Soft-F1 %: all 100.0" in (tmp_path / "out/report.html").read_text()
    assert not summary["by"]["hardness"] and "Soft-F1 %: all 100.0" in done.stdout
    written = json.loads((tmp_path / "out/predict.json").read_text())
    assert list(written.values()) == list(answers.values())
    assert list(written) == [str(i) for i in range(6)]
    path.write_text(json.dumps({"0": "SELECT 1\t----- bird -----\tshop"}))
    with pytest.raises(errors.InputError, match="'0' answers a question on 'shop', but dev/0000"):
        report(path, bird, tmp_path / "o")
    path.write_text(json.dumps({"99": "SELECT 1"}))
    with pytest.raises(errors.InputError, match="'99' is the number of no question"):
        report(path, bird, tmp_path / "o")
