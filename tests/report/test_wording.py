import pytest
import report_pages as pages

from t2sql.report import wording


def made(tmp_path, *examples):
    return pages.report(list(examples) or [pages.case(0)], tmp_path)


def test_title_names_system_and_data(tmp_path):
    report = made(tmp_path)
    assert wording.title(report) == "predict.txt on lines.txt"
    report["data"] |= {"path": "/data/spider", "split": "dev", "gold": None}
    assert wording.title(report) == "predict.txt on spider dev"


def test_a_clean_report_has_no_notice(tmp_path):
    assert wording.notices(made(tmp_path)) == []


def test_what_affects_the_numbers_is_alarming(tmp_path):
    report = made(tmp_path, pages.case(0, gold_error="error: no such table"))
    report["system"] |= {"complete": False, "problems": [{"message": "3 units missing"}]}
    assert [notice.alarm for notice in wording.notices(report)] == [True, True]
    assert "3 units missing" in wording.notices(report)[0].text


def test_every_odd_thing_is_told(tmp_path):
    odd = [
        pages.case(0, status="max_tokens"),
        pages.case(1, status="prompt_too_long"),
        pages.case(2, gold=None, now=pages.answer(None)),
        pages.case(3, empty_database=True, db_id="shop"),
    ]
    report = made(tmp_path, *odd)
    report["data"]["several_files"] = {"school": 2}
    said = " ".join(notice.text for notice in wording.notices(report))
    for part in (
        "token limit",
        "Too long for the model",
        "Without a gold query",
        "No rows in shop",
        "several SQLite files of school",
    ):
        assert part in said


def test_what_the_baseline_lacks_is_said_of_the_baseline(tmp_path):
    wrong = pages.answer(False, "truncated", status="max_tokens")
    report = made(tmp_path, pages.case(0, baseline=wrong))
    (notice,) = wording.notices(report)
    assert notice.text == "1 answer of the baseline was cut at the token limit."


def test_provenance_of_a_run_is_listed(tmp_path):
    report = made(tmp_path)
    report["system"]["provenance"] = {"model": "tiny", "adapter": None, "hosts": 2}
    listed = dict(wording.provenance(report))
    assert listed["Model"] == "tiny" and listed["Hosts"] == "2"
    assert "Adapter" not in listed


@pytest.mark.parametrize(
    "source, shown",
    [
        ("package:gemma3_270m_spider", "gemma3_270m_spider"),
        ("gs://bucket/runs/lora/best", "lora/best"),
        (None, "a1b2c3d4"),
    ],
)
def test_an_adapter_is_named_not_spelt_out(tmp_path, source, shown):
    report = made(tmp_path)
    report["system"]["provenance"] = {"adapter": "a1b2c3d4" * 8, "adapter_source": source}
    assert f"adapter {shown}" in wording.facts(report)
    assert dict(wording.provenance(report))["Adapter"] == "a1b2c3d4" * 8


def test_too_long_names_the_limit_and_the_way_out(tmp_path):
    report = made(tmp_path, pages.case(0, status="prompt_too_long"))
    report["system"]["provenance"] = {"prompt_buckets": [16, 2048]}
    (notice,) = wording.notices(report)
    assert "at most 2,048 tokens fit" in notice.text
    assert "--config.prompt_buckets" in notice.text
