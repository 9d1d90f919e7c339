"""Data sets as people have them: recognised, read whole, and told where they are wrong."""

import json
import sqlite3

import pytest

from t2sql import config as config_lib
from t2sql import errors
from t2sql.data import dataset, descriptions, examples, from_config, notices, prompts
from t2sql.data.database import database_path

SHIP = "CREATE TABLE ship (id INT PRIMARY KEY, name TEXT); INSERT INTO ship VALUES (1, 'Fram')"
SPIDER_RECORD = {"db_id": "fleet", "question": "How many ships?", "query": "SELECT 1"}
SYN_RECORD = {
    "db_id": "fleet",
    "SpiderQuestion": "How many ships?",
    "SpiderSynQuestion": "How many vessels?",
    "query": "SELECT 1",
}
BIRD_RECORD = {
    "question_id": 7,
    "db_id": "fleet",
    "question": "How many ships?",
    "evidence": "ships are rows of ship",
    "SQL": "SELECT 1",
    "difficulty": "simple",
}
TABLES = {
    "db_id": "fleet",
    "table_names_original": ["ship"],
    "table_names": ["ship"],
    "column_names_original": [[-1, "*"], [0, "id"], [0, "name"]],
    "column_names": [[-1, "*"], [0, "id"], [0, "name"]],
    "column_types": ["text", "number", "text"],
    "primary_keys": [1],
    "foreign_keys": [],
}
# name -> split, its file, a record, the file of schemas, the folder of databases
SHAPES = {
    "spider": ("train_others", "train_others.json", SPIDER_RECORD, "tables.json", "database"),
    "spider_syn": ("dev", "dev.json", SYN_RECORD, "tables.json", "database"),
    "spider_realistic": ("dev", "spider-realistic.json", SPIDER_RECORD, "tables.json", "database"),
    "spider_dk": ("dev", "Spider-DK.json", SPIDER_RECORD | {"type": 0}, "tables.json", "database"),
    "kaggle_dbqa": (
        "test",
        "examples/Fleet_test.json",
        SPIDER_RECORD,
        "KaggleDBQA_tables.json",
        "databases",
    ),
    "bird": (
        "mini_dev",
        "mini_dev_sqlite.json",
        BIRD_RECORD,
        "dev_tables.json",
        "dev_databases",
    ),
}


def make_set(root, file, records, tables="tables.json", databases="database"):
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))
    (root / tables).write_text(json.dumps([TABLES]))
    folder = root / databases / "fleet"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "fleet.sqlite").exists():
        with sqlite3.connect(folder / "fleet.sqlite") as connection:
            connection.executescript(SHIP)
    return root


@pytest.mark.parametrize("name", SHAPES)
def test_a_set_is_recognised_by_its_files_and_read_whole(tmp_path, name):
    split, file, record, tables, databases = SHAPES[name]
    folder = dataset.open_folder(make_set(tmp_path, file, [record], tables, databases))
    assert folder.dataset.name == name
    assert folder.split_names() == [split]
    (example,) = examples.read_examples(folder, split)
    assert example.example_id == f"{split}/0000"
    assert example.question in ("How many ships?", "How many vessels?")
    assert example.query == "SELECT 1"
    assert example.db_definitions.startswith("CREATE TABLE ship")
    assert database_path(folder, "fleet").parts[-3] == databases
    assert (example.hint, example.difficulty, example.source_id) == (
        ("ships are rows of ship", "simple", "7") if name == "bird" else ("", None, "")
    )


def test_spiders_released_test_split_has_tables_and_databases_of_its_own(tmp_path):
    make_set(tmp_path, "test.json", [SPIDER_RECORD], "test_tables.json", "test_database")
    folder = dataset.open_folder(tmp_path)
    assert examples.read_examples(folder, "test")[0].db_definitions
    assert [path.name for path in folder.table_files()] == ["test_tables.json"]


def test_several_files_of_a_split_are_one(tmp_path):
    make_set(tmp_path, "examples/B_test.json", [SPIDER_RECORD] * 2, "KaggleDBQA_tables.json")
    make_set(tmp_path, "examples/A_test.json", [SPIDER_RECORD | {"question": "First?"}])
    read = examples.read_examples(tmp_path, "test", with_schema=False)
    assert [example.example_id for example in read] == ["test/0000", "test/0001", "test/0002"]
    assert read[0].question == "First?"


@pytest.mark.parametrize(("record", "name"), [(SYN_RECORD, "spider_syn"), (BIRD_RECORD, "bird")])
def test_a_dev_json_is_recognised_by_its_fields(tmp_path, record, name):
    assert dataset.recognise(make_set(tmp_path, "dev.json", [record])).name == name


def test_spider_stays_spider_where_another_sets_file_lies_beside(tmp_path):
    make_set(tmp_path, "dev.json", [SPIDER_RECORD])
    make_set(tmp_path, "Spider-DK.json", [SPIDER_RECORD | {"question": "Known?"}])
    assert dataset.open_folder(tmp_path).dataset.name == "spider"
    assert "Spider-DK (spider_dk) is there too" in notices.told()[0]
    named = dataset.open_folder(tmp_path, format="spider_dk")
    assert examples.read_examples(named, "dev")[0].question == "Known?"


def test_databases_may_lie_with_another_set(tmp_path):
    spider = make_set(tmp_path / "spider", "dev.json", [SPIDER_RECORD])
    syn = tmp_path / "syn"
    syn.mkdir()
    (syn / "dev.json").write_text(json.dumps([SYN_RECORD]))
    with pytest.raises(errors.InputError, match="databases of Spider: name their folder by --conf"):
        examples.read_examples(syn, "dev")
    config = config_lib.default_config()
    config.data.path, config.data.databases = str(syn), str(spider)
    (example,) = from_config.read_examples(config, prompts.make_prompt("completion"))
    assert example.question == "How many vessels?"
    assert "CREATE TABLE ship" in example.db_definitions


def test_ones_own_fields_in_json_lines(tmp_path):
    make_set(tmp_path, "dev.json", [])
    (tmp_path / "dev.json").unlink()
    rows = [{"db": "fleet", "text": f"Ship {i}?", "sql": "SELECT 1", "key": i} for i in range(3)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    config = config_lib.default_config()
    config.data.path, config.data.split = str(tmp_path), "mine"
    config.data.fields.update({"db_id": "db", "question": "text", "query": "sql", "id": "key"})
    read = from_config.read_examples(config, prompts.make_prompt("completion"))
    assert [example.example_id for example in read] == ["mine/0000", "mine/0001", "mine/0002"]
    assert (read[2].question, read[2].query, read[2].source_id) == ("Ship 2?", "SELECT 1", "2")


def test_several_gold_queries_are_kept(tmp_path):
    make_set(tmp_path, "dev.json", [SPIDER_RECORD | {"query": ["SELECT 1", "SELECT 2"]}])
    (example,) = examples.read_examples(tmp_path, "dev")
    assert (example.query, example.other_queries) == ("SELECT 1", ("SELECT 2",))


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        (
            [SPIDER_RECORD, BIRD_RECORD],
            {},
            r"record 1 has SQL, not query: .*BIRD's layout \(--config\.data\.format=bird",
        ),
        ([BIRD_RECORD | {"query": None}], {"format": "spider"}, "record 0 has SQL, not query"),
        ([SPIDER_RECORD], {"format": "bird"}, "record 0 has query, not SQL: .*Spider's layout"),
        (
            [SPIDER_RECORD],
            {"fields": {"query": "gold"}},
            r"record 0 has no field 'gold', .*config\.data\.fields\.query .*fields: db_id, query",
        ),
        ([SPIDER_RECORD], {"fields": {"question": "asked"}}, "record 0 has no field 'asked'"),
        ([SPIDER_RECORD], {"fields": {"gold": "x"}}, "data field 'gold': fields are db_id"),
        ([SPIDER_RECORD], {"format": "birds"}, "data format 'birds': .*there are spider,"),
        (
            [BIRD_RECORD, BIRD_RECORD],
            {},
            r"dev\.json: record 1: field 'question_id' is '7', as in .*dev\.json: record 0",
        ),
        ([{"db_id": "fleet", "question": "Ships?", "gold": "SELECT 1"}], {}, "has gold, not query"),
        ([{"db_id": "fleet", "question": "?", "gold": ["SELECT 1"]}], {}, "has gold, not query"),
    ],
)
def test_what_is_wrong_is_named_by_file_record_and_field(tmp_path, records, options, message):
    make_set(tmp_path, "dev.json", records)
    with pytest.raises(errors.InputError, match=message):
        examples.read_examples(dataset.open_folder(tmp_path, **options), "dev")


def test_a_broken_line_is_named(tmp_path):
    make_set(tmp_path, "dev.json", [])
    (tmp_path / "mine.jsonl").write_text('{"db_id": "fleet", "question": "Ships?"}\n{"db_id"\n')
    with pytest.raises(errors.InputError, match=r"mine\.jsonl, line 2: not valid JSON"):
        examples.read_examples(tmp_path, "mine")


def test_a_hint_that_is_not_read_is_told(tmp_path):
    make_set(tmp_path, "dev.json", [SPIDER_RECORD | {"evidence": "ships sail"}])
    assert examples.read_examples(tmp_path, "dev")[0].hint == ""
    assert "'evidence' of its records is not read" in notices.told()[0]


@pytest.mark.parametrize("name", ["zero_shot", "completion", "few_shot", "compact"])
def test_a_hint_stands_with_the_question_and_not_in_the_schema(tmp_path, name):
    make_set(tmp_path, "dev.json", [BIRD_RECORD | {"evidence": "sails  mean\nname 'Fram'"}])
    shots = examples.read_examples(tmp_path, "dev")
    prompt = prompts.make_prompt(name, shots)
    (example,) = examples.read_examples(tmp_path, "dev", compact=prompt.compact)
    schema, question, asked = prompt.text(example).rpartition("How many ships?")
    assert question and "Hint: sails" in asked and "Fram" in asked
    assert example.db_definitions in schema
    if prompt.compact:
        assert example.values == ("ship.name = 'Fram'",)


def test_descriptions_of_columns_stand_below_the_schema(tmp_path):
    make_set(tmp_path, "dev.json", [BIRD_RECORD])
    folder = tmp_path / "database/fleet/database_description"
    folder.mkdir()
    (folder / "ship.csv").write_bytes(
        "original_column_name,column_name,column_description,data_format,value_description\r\n"
        "id,,ID,integer,\r\nname ,,\"the ship’s\nname\",text,'Fram' is one\r\n".encode("cp1252")
    )
    config = config_lib.default_config()
    config.data.path, config.data.descriptions = str(tmp_path), True
    (example,) = from_config.read_examples(config, prompts.make_prompt("completion"))
    told = example.db_definitions.splitlines()[1:]
    assert told == ["-- ship.name: the ship’s name; 'Fram' is one"]


def test_kaggle_dbqa_describes_columns_in_its_tables(tmp_path):
    make_set(tmp_path, "examples/F_test.json", [SPIDER_RECORD], "KaggleDBQA_tables.json")
    record = TABLES | {"column_descriptions": ["*", "", "the name painted on it"]}
    (tmp_path / "KaggleDBQA_tables.json").write_text(json.dumps([record]))
    folder = dataset.open_folder(tmp_path)
    assert descriptions.read_descriptions(folder, "fleet") == "-- ship.name: the name painted on it"
