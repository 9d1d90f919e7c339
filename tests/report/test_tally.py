import pytest
import report_pages as pages

from t2sql.report.tally import Changes, Tally


def tallied(examples):
    tally = Tally()
    for case in examples:
        tally.add(case, case.answer)
    return tally


def test_every_example_is_in_the_denominator():
    tally = tallied(
        [
            pages.case(0),
            pages.case(1, now=pages.answer(False, "empty", valid=False), status="missing"),
            pages.case(2, now=pages.answer(False, "wrong_columns")),
        ]
    )
    execution = tally.accuracy()["all"]["execution"]
    assert (execution["count"], execution["total"]) == (1, 3)
    assert tally.accuracy()["all"]["valid"]["count"] == 2
    assert tally.statuses == {"ok": 2, "missing": 1}


def test_examples_on_empty_databases_are_left_out_of_with_rows_only():
    tally = tallied([pages.case(0), pages.case(1, empty_database=True, db_id="shop")])
    accuracy = tally.accuracy()
    assert accuracy["all"]["execution"]["total"] == 2
    assert accuracy["with_rows"]["execution"]["total"] == 1
    assert accuracy["all"]["execution_with_rows"] == accuracy["with_rows"]["execution"]
    for groups in (tally.by()["hardness"], tally.by()["feature"]["joins"]):
        assert sum(scores["execution"]["total"] for scores in groups.values()) == 2
        assert sum(scores["execution_with_rows"]["total"] for scores in groups.values()) == 1
    assert tally.by()["database"]["shop"]["empty"]
    assert not tally.by()["database"]["school"]["empty"]


def test_examples_without_gold_count_for_validity_only():
    without_gold = pages.answer(None)
    tally = tallied([pages.case(0), pages.case(1, now=without_gold, gold=None)])
    scores = tally.accuracy()["all"]
    assert scores["examples"] == 2
    assert scores["execution"]["total"] == scores["exact_match"]["total"] == 1
    assert scores["valid"]["total"] == 2


def test_groups_add_up_to_all():
    examples = [pages.case(i, now=pages.answer(i % 5 != 0)) for i in range(60)]
    by = tallied(examples).by()
    for groups in (by["hardness"], by["database"], by["feature"]["joins"]):
        assert sum(scores["examples"] for scores in groups.values()) == 60
        assert sum(scores["execution"]["count"] for scores in groups.values()) == 48


def test_hardness_goes_from_easy_to_extra():
    examples = [pages.case(i) for i in (3, 1, 0, 2)]
    assert list(tallied(examples).by()["hardness"]) == ["easy", "medium", "hard", "extra"]


def test_errors_are_counted_once_per_example_and_most_frequent_first():
    examples = [
        pages.case(0, now=pages.answer(False, "wrong_value", "wrong_value", "extra_join")),
        pages.case(1, now=pages.answer(False, "extra_join")),
        pages.case(2),
    ]
    shares = tallied(examples).error_shares()
    assert [(name, share["count"]) for name, share in shares.items()] == [
        ("extra_join", 2),
        ("wrong_value", 1),
    ]
    assert {share["total"] for share in shares.values()} == {2}


def test_an_inexact_answer_on_an_empty_database_is_diagnosed_though_right():
    now = pages.answer(True, "wrong_columns", exact_match=False)
    assert tallied([pages.case(0, now=now, empty_database=True)]).diagnosed == 1
    assert tallied([pages.case(0, now=now)]).diagnosed == 0


def test_changes_are_counted_and_named():
    wrong, right = pages.answer(False, "wrong_columns"), pages.answer(True)
    changes = Changes()
    pairs = [(wrong, right)] * 7 + [(right, wrong)] + [(right, right)] * 2 + [(wrong, wrong)] * 3
    for position, (before, now) in enumerate(pairs):
        changes.add(pages.case(position, now=now, baseline=before))
    result = changes.to_json()
    execution = result["execution"]
    assert (execution["better"], execution["worse"]) == (7, 1)
    assert (execution["both_right"], execution["both_wrong"]) == (2, 3)
    assert execution["points"] == 100 * 6 / 13
    # 2 * (C(8, 0) + C(8, 1)) / 2**8
    assert execution["p_value"] == pytest.approx(2 * 9 / 256)
    assert result["better"] == [f"dev/{i:04d}" for i in range(7)]
    assert result["worse"] == ["dev/0007"]
    change = result["errors"]["wrong_columns"]
    assert (change["baseline"], change["now"], change["gone"], change["new"]) == (10, 4, 7, 1)
    assert sum(result["hardness"][level]["better"] for level in result["hardness"]) == 7
