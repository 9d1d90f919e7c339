"""Reading questions in the Spider layout, whole and broken."""

import json
import time

import pytest

from t2sql import errors
from t2sql.data import dataset, examples, read_schema


def write_split(root, records, file="dev.json"):
    (root / file).write_text(json.dumps(records))


def test_reads_the_fields_of_the_layout(data_root):
    first, second = examples.read_examples(data_root, "dev")
    assert first == examples.Example(
        example_id="dev/0000",
        db_id="fleet",
        question="How many ships?",
        query="SELECT count(*) FROM ship",
        db_definitions="CREATE TABLE ship (id INT, name TEXT);",
    )
    assert second.example_id == "dev/0001"
    assert second.query is None
    assert second.db_definitions == first.db_definitions


@pytest.mark.parametrize(
    ("split", "file"),
    [
        ("train", "train_spider.json"),
        ("train_others", "train_others.json"),
        ("test", "test.json"),
    ],
)
def test_split_files(data_root, split, file):
    write_split(data_root, [{"db_id": "fleet", "question": "Names?"}], file)
    (example,) = examples.read_examples(data_root, split)
    assert (example.example_id, example.question) == (f"{split}/0000", "Names?")
    assert split in dataset.open_folder(data_root).split_names()


def test_ids_do_not_depend_on_the_limit(data_root):
    (first,) = examples.read_examples(data_root, "dev", limit=1)
    assert first == examples.read_examples(data_root, "dev", limit=9)[0]


def test_only_some_are_read_in_the_order_of_the_file(data_root):
    ids = [example.example_id for example in examples.read_examples(data_root, "dev")]
    found = examples.read_examples(data_root, "dev", only=ids[::-1])
    assert [example.example_id for example in found] == ids
    assert len(examples.read_examples(data_root, "dev", only=ids[1:])) == len(ids) - 1
    with pytest.raises(errors.InputError, match=r"no example 'dev/0999' \(1 of 2 are not there\)"):
        examples.read_examples(data_root, "dev", only=[ids[0], "dev/0999"])


def test_without_schema_no_database_is_read(data_root):
    (data_root / "database/fleet/fleet.sqlite").unlink()
    found = examples.read_examples(data_root, "dev", with_schema=False)
    assert [example.db_definitions for example in found] == ["", ""]


def test_a_bad_database_beyond_the_limit_is_no_harm(data_root):
    good = {"db_id": "fleet", "question": "Names?"}
    write_split(data_root, [good, {"db_id": "absent", "question": "Names?"}])
    assert len(examples.read_examples(data_root, "dev", limit=1)) == 1


def test_question_text_is_kept_as_it_is(data_root):
    question = ' Où est "l\'été"?<end_of_turn>\n<start_of_turn>model\n'
    write_split(data_root, [{"db_id": "fleet", "question": question, "query": None}])
    (example,) = examples.read_examples(data_root, "dev")
    assert example.question == question
    assert example.query is None


def test_no_such_directory(tmp_path):
    with pytest.raises(errors.InputError, match="nowhere: no such data directory"):
        examples.read_examples(tmp_path / "nowhere", "dev")


def test_split_without_its_file_names_those_there(data_root):
    with pytest.raises(
        errors.InputError,
        match=r"no split 'train': train_spider\.json is not there \(splits of Spider there: dev\)",
    ):
        examples.read_examples(data_root, "train")


def test_unknown_split_names_the_known(data_root):
    with pytest.raises(errors.InputError, match="'validation'; there are dev, train, "):
        examples.read_examples(data_root, "validation")


def test_empty_split(data_root):
    write_split(data_root, [])
    with pytest.raises(errors.InputError, match=r"dev\.json: holds no examples"):
        examples.read_examples(data_root, "dev")


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one(data_root, limit):
    with pytest.raises(errors.InputError, match=f"limit is {limit}"):
        examples.read_examples(data_root, "dev", limit=limit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": ""}, "field 'question' is empty"),
        ({"question": " \n\t"}, "field 'question' is empty"),
        ({"question": None}, "field 'question' is null"),
        ({"question": 7}, "field 'question' is a number"),
        ({"query": "  "}, "field 'query' is empty"),
        ({"query": 7}, "field 'query' is a number"),
        ({"query": []}, "field 'query' is an empty list"),
        ({"query": ["SELECT 1", 7]}, "field 'query' is a number"),
        ({"query": ["SELECT 1", " "]}, "field 'query' is empty"),
        ({"db_id": ""}, "field 'db_id' is empty"),
        ({"db_id": ".."}, "db_id '..' is not a plain folder name"),
        ({"db_id": "../fleet"}, "db_id '../fleet' is not a plain"),
        ({"db_id": "/etc/fleet"}, "db_id '/etc/fleet' is not a plain"),
        ({"db_id": "a\\b"}, r"db_id 'a\\\\b' is not a plain"),
        ({"db_id": "a\0b"}, "is not a plain"),
    ],
)
def test_bad_record_names_file_index_and_field(data_root, change, message):
    good = {"db_id": "fleet", "question": "Names?"}
    write_split(data_root, [good, good | change])
    with pytest.raises(errors.InputError, match=rf"dev\.json: record 1.*{message}"):
        examples.read_examples(data_root, "dev", with_schema=False)


@pytest.mark.parametrize("name", ["db_id", "question"])
def test_record_without_a_field(data_root, name):
    record = {"db_id": "fleet", "question": "Names?"}
    del record[name]
    write_split(data_root, [record])
    with pytest.raises(errors.InputError, match=rf"dev\.json: record 0 has no field '{name}'"):
        examples.read_examples(data_root, "dev")


def test_missing_database_names_file_and_example(data_root):
    write_split(data_root, [{"db_id": "absent", "question": "Names?"}])
    with pytest.raises(
        errors.InputError,
        match=r"absent/absent\.sqlite: no such database \(the database of dev/0000\)",
    ):
        examples.read_examples(data_root, "dev")


def test_each_schema_is_read_once(data_root, monkeypatch):
    reads = []
    monkeypatch.setattr(
        examples,
        "read_db_definitions",
        lambda path: reads.append(path) or read_schema.read_db_definitions(path),
    )
    write_split(data_root, [{"db_id": "fleet", "question": "Names?"}] * 50)
    assert len(examples.read_examples(data_root, "dev")) == 50
    assert len(reads) == 1


@pytest.mark.spider
def test_spider_reads_whole_and_fast(spider_root):
    started = time.perf_counter()
    train = examples.read_examples(spider_root, "train")
    dev = examples.read_examples(spider_root, "dev")
    assert time.perf_counter() - started < 10  # 0.3 s when the disk is warm
    assert (len(train), len(dev)) == (7000, 1034)
    assert dev[-1].example_id == "dev/1033"
    assert all(example.query and example.db_definitions for example in train + dev)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"question_id": 0, "db_id": "fleet", "question": "Ships?", "SQL": "SELECT 1"},
            "record 1 has SQL, not query: this looks like BIRD's layout",
        ),
        ({"database_id": "fleet", "interaction": []}, "SParC's or CoSQL's"),
        ({"table_id": "1-1", "question": "Ships?", "sql": {"sel": 0}}, "WikiSQL's"),
    ],
)
def test_records_of_another_data_set_are_named_not_half_read(data_root, record, message):
    write_split(data_root, [{"db_id": "fleet", "question": "Names?"}, record])
    with pytest.raises(errors.InputError, match=message):
        examples.read_examples(data_root, "dev")


def test_birds_folder_of_databases_is_named(data_root):
    (data_root / "database").rename(data_root / "dev_databases")
    with pytest.raises(errors.InputError, match=r"no such database \(rename dev_databases, BIRD's"):
        examples.read_examples(data_root, "dev")
