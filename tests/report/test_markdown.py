import re

import report_pages as pages

from t2sql.report import markdown


def made(tmp_path, **options):
    examples = [
        pages.case(0),
        pages.case(1, now=pages.answer(False, "wrong_value"), db_id="shop", empty_database=True),
        pages.case(2, now=pages.answer(False, "empty", valid=False)),
    ]
    return markdown.render(pages.report(examples, tmp_path, **options))


def test_every_table_row_has_the_cells_of_its_head(tmp_path):
    text = made(tmp_path)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table


def test_says_the_numbers_and_what_affects_them(tmp_path):
    text = made(tmp_path)
    assert "| Execution accuracy, all examples | 33.3 | 6.1–79.2 | 3 |" in text
    assert "No rows in shop" in text
    assert "wrong\\_value | 1 | 50.0" in text


def test_a_name_can_neither_open_markup_nor_end_its_cell(tmp_path):
    text = made(tmp_path, source="<b>|`[x](y)`*")
    title = text.splitlines()[0]
    assert title == "# &lt;b>\\|\\`\\[x](y)\\`\\* on lines.txt"
