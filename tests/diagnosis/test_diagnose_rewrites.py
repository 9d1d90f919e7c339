"""No class fires on a prediction that is gold in another spelling."""

import json

import pytest
from sql_rewrites import REWRITES

from t2sql.data.read_schema import read_tables
from t2sql.diagnosis.diagnose import diagnose

# How many of the distinct gold queries each has to apply to, so that none tests nothing.
LEAST = {"other_not_equal": 10, "spelled_out_between": 4, "explicit_asc": 30}


@pytest.fixture(scope="module")
def golds(spider_root):
    schemas = read_tables(spider_root)
    examples = json.loads((spider_root / "dev.json").read_text())
    pairs = sorted({(example["db_id"], example["query"]) for example in examples})
    return [(schemas[db_id], query) for db_id, query in pairs]


@pytest.mark.spider
@pytest.mark.parametrize("name", REWRITES)
def test_no_class_fires_on_gold_rewritten(name, golds):
    rewritten = [(schema, gold, REWRITES[name](gold, schema)) for schema, gold in golds]
    rewritten = [case for case in rewritten if case[2] is not None]
    diagnosed = {
        (gold, predicted): diagnose(gold, predicted, schema)
        for schema, gold, predicted in rewritten
    }
    assert len(rewritten) >= LEAST.get(name, 50)
    assert {pair: findings for pair, findings in diagnosed.items() if findings} == {}
