import pytest
import report_world as world

from t2sql import errors
from t2sql.report import questions


@pytest.fixture
def data(tmp_path):
    return world.make_data(tmp_path / "data")


def read(data, gold=None, *, required=False, split="dev"):
    return questions.read_questions(data, split=split, limit=None, gold=gold, required=required)


def gold_file(tmp_path, pairs):
    path = tmp_path / "my_gold.sql"
    path.write_text("".join(f"{sql}\t{db}\n" for sql, db in pairs))
    return path


def test_a_split_is_its_examples(data):
    asked = read(data)
    assert len(asked) == 6
    assert [example.query for example in asked] == world.golds()
    assert asked.db_ids == ("school", "shop")


def test_a_gold_file_that_aligns_keeps_questions_and_ids(tmp_path, data):
    pairs = [("SELECT 1", db) for db, _, _ in world.RECORDS]
    asked = read(data, gold_file(tmp_path, pairs))
    first = next(iter(asked))
    assert (first.example_id, first.query) == ("dev/0000", "SELECT 1")
    assert first.question == world.RECORDS[0][1]


def test_any_other_gold_file_stands_alone(tmp_path, data):
    asked = read(data, gold_file(tmp_path, [("SELECT 1", "shop"), ("SELECT 2", "school")]))
    assert [example.example_id for example in asked] == ["my_gold/0000", "my_gold/0001"]
    assert asked.split is None
    assert asked.db_ids == ("school", "shop")


def test_a_gold_file_needs_no_split(tmp_path, data):
    (data / "dev.json").unlink()
    assert len(read(data, gold_file(tmp_path, [("SELECT 1", "shop")]))) == 1


def test_a_gold_file_for_a_run_has_to_align(tmp_path, data):
    path = gold_file(tmp_path, [("SELECT 1", "shop")])
    with pytest.raises(errors.InputError, match="its 1 lines do not align with the 6 examples"):
        read(data, path, required=True)


@pytest.mark.parametrize("name", ["shop.db", "Shop.sqlite", "shop.SQLITE3"])
def test_a_database_under_another_name_is_named(data, name):
    path = data / "database/shop/shop.sqlite"
    path.rename(path.with_name(name))
    with pytest.raises(errors.InputError, match=f"missing.; rename {name} beside it to shop.sq"):
        read(data)


def test_a_db_id_that_does_not_exist_is_named_with_its_line(tmp_path, data):
    path = gold_file(tmp_path, [("SELECT 1", "shop"), ("SELECT 1", "zoo")])
    with pytest.raises(errors.InputError, match=r"my_gold.sql, line 2: there is no database 'zoo'"):
        read(data, path)


def test_a_db_id_that_leads_out_of_the_data_is_refused(tmp_path, data):
    with pytest.raises(errors.InputError, match="not a plain folder name"):
        read(data, gold_file(tmp_path, [("SELECT 1", "../../etc")]))


def test_an_empty_gold_file_is_refused(tmp_path, data):
    with pytest.raises(errors.InputError, match="my_gold.sql: holds no examples"):
        read(data, gold_file(tmp_path, []))


def test_a_missing_split_lists_those_there(data):
    with pytest.raises(errors.InputError, match="no split 'train'"):
        read(data, split="train")
