import io

import report_pages as pages
from rich.console import Console

from t2sql.report import terminal


def shown(examples, tmp_path, **options) -> str:
    file = io.StringIO()
    terminal.show(pages.report(examples, tmp_path), Console(file=file, width=100, **options))
    return file.getvalue()


def test_summary_and_most_frequent_errors(tmp_path):
    wrong = pages.answer(False, "wrong_value", "missing_join")
    text = shown([pages.case(0), pages.case(1, now=wrong)], tmp_path)
    assert "50.0" in text and "easy" in text and "medium" in text
    assert text.index("missing_join") < text.index("wrong_value")


def test_a_baseline_is_compared(tmp_path):
    text = shown([pages.case(0, baseline=pages.answer(False, "wrong_value"))], tmp_path)
    assert "against the baseline" in text and "+100.0" in text


def test_markup_in_a_name_is_text(tmp_path):
    example = pages.case(0, empty_database=True, db_id="[red]shop[/red]")
    assert "[red]shop[/red]" in shown([example], tmp_path)


def test_80_columns_show_every_number(tmp_path):
    right = [pages.case(i) for i in range(1_200)]
    empty = pages.case(1_200, empty_database=True, db_id="shop")
    file = io.StringIO()
    terminal.show(pages.report([*right, empty], tmp_path), Console(file=file, width=80))
    assert "99.7–100.0" in file.getvalue()
    assert "…" not in file.getvalue()
