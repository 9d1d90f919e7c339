"""The training data: in each epoch every question once, and schemas in another order."""

import collections
import json
import re
import shutil

import pytest

from t2sql import errors
from t2sql.data import sources
from t2sql.runtime import progress
from t2sql.training import config as config_lib
from t2sql.training import setup


def _parts(path="sample", **train):
    config = config_lib.default_config()
    config.data.path = path
    config.model.name, config.model.source = "dummy", "dummy:0"
    config.output = "unused"
    config.train.update({"held_out_databases": 1, "epochs": 6.0, **train})
    return setup.prepare(config, progress.make_console())


def _prefixes(parts) -> dict[str, str]:
    """The text of each schema's tokens as they were shown, and the questions' database."""
    decode = parts.factory.tokenizer.decode
    databases = {example.example_id: example.db_id for example in parts.split.train}
    return {
        decode(list(group.prefix)): databases[group.questions[0].example_id]
        for sequence in parts.steps.sequences
        for group in sequence
    }


def _columns(text: str) -> list[set[str]]:
    """The columns of each table, tables in the order of their names."""
    lines = sorted(line for line in text.splitlines() if ": " in line)
    return [set(re.split(r": |; ", line)) for line in lines]


def test_schemas_come_in_another_order_and_lose_nothing():
    natural, shuffled = _prefixes(_parts(shuffled_schemas=0.0)), _prefixes(_parts())
    assert len(natural) == 1  # the sample data has two, one of which is held out
    assert len(shuffled) > 2
    columns = {db_id: _columns(text) for text, db_id in natural.items()}
    assert all(_columns(text) == columns[db_id] for text, db_id in shuffled.items())
    assert set(natural) < set(shuffled)  # a share of them is as at inference


def test_a_question_follows_a_shuffled_schema_as_in_its_prompt():
    parts = _parts(shuffled_schemas=1.0)
    tokenizer = parts.factory.tokenizer
    for group in (group for sequence in parts.steps.sequences for group in sequence):
        for question in group.questions:
            tokens = [*group.prefix, *question.prompt]
            assert tokens == list(tokenizer.encode(tokenizer.decode(tokens), add_bos=True))


def test_a_thinned_schema_keeps_what_its_questions_need():
    """A query's names are in the schema that it follows, and other schemas are longer."""
    whole = _prefixes(_parts(shuffled_schemas=0.0))
    parts = _parts(thinned_schemas=1.0, epochs=3.0)
    (columns,) = (set().union(*_columns(text)) for text in whole)
    shown = [set().union(*_columns(text)) for text in _prefixes(parts)]
    assert any(len(of_schema) < len(columns) for of_schema in shown)
    names = {part.split()[0].strip('"') for part in columns if part}
    for example in parts.split.train:
        needed = {name for name in names if re.search(rf"\b{name}\b", example.query, re.I)}
        for of_schema in shown:
            assert needed <= {part.split()[0].strip('"') for part in of_schema if part}


def test_questions_in_other_words_are_learnt_beside_the_others(tmp_path):
    train = _parts().split.train
    path = tmp_path / "rephrased.json"
    record = {"db_id": train[0].db_id, "SpiderQuestion": f" {train[0].question} "}
    foreign = {"db_id": "nowhere", "SpiderQuestion": "Why?", "SpiderSynQuestion": "How come?"}
    path.write_text(json.dumps([record | {"SpiderSynQuestion": "In other words?"}, foreign]))
    *others, last = _parts(rephrasings=str(path)).split.train
    assert others == list(train)
    assert (last.question, last.query) == ("In other words?", train[0].query)
    assert last.db_definitions == train[0].db_definitions
    path.write_text(json.dumps([foreign]))
    with pytest.raises(errors.InputError, match="none of its questions"):
        _parts(rephrasings=str(path))


def test_each_epoch_shows_every_question_once():
    parts = _parts()
    seen = collections.Counter(_questions(parts))
    assert set(seen.values()) == {6}
    assert len(seen) == len(parts.split.train)


def test_databases_that_look_the_same_lose_no_question(tmp_path):
    for path in (sources.SAMPLE / "database").iterdir():
        for name in (path.name, f"{path.name}_twin"):
            folder = tmp_path / "database" / name
            folder.mkdir(parents=True)
            shutil.copy(path / f"{path.name}.sqlite", folder / f"{name}.sqlite")
    train = json.loads((sources.SAMPLE / "train_spider.json").read_text())
    twins = [{**record, "db_id": f"{record['db_id']}_twin"} for record in train]
    (tmp_path / "train_spider.json").write_text(json.dumps(train + twins))
    parts = _parts(path=str(tmp_path))
    seen = collections.Counter(_questions(parts))
    assert set(seen.values()) == {6}
    assert len(seen) == len(parts.split.train)


def _questions(parts):
    for sequence in parts.steps.sequences:
        for group in sequence:
            yield from (question.example_id for question in group.questions)


def test_longer_trainings_begin_as_shorter_ones():
    short, long = _parts(epochs=2.0).steps.sequences, _parts(epochs=3.0).steps.sequences
    assert list(long[: len(short)]) == list(short)


def test_a_share_above_one_is_refused():
    with pytest.raises(errors.InputError, match=r"shuffled_schemas is 1\.5; .* between 0 and 1"):
        _parts(shuffled_schemas=1.5)
