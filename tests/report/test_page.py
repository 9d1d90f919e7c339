"""The page in a real Chromium. Without one these tests fail: CI installs it."""

import contextlib
import os
import shutil
import time

import pytest
import report_pages as pages
from playwright.sync_api import sync_playwright

from t2sql.report import page

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("no Chromium found: install Debian's package chromium, or set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens a page; at the end nothing may have been logged or asked of the network."""
    complaints = []
    with contextlib.ExitStack() as stack:

        def open_page(html: str, hash: str = "", **context):
            path = tmp_path / "report.html"
            path.write_text(html)
            browsing = chromium.new_context(**context)
            stack.callback(browsing.close)
            shown = browsing.new_page()
            shown.on("console", lambda message: complaints.append(message.text))
            shown.on("pageerror", lambda error: complaints.append(str(error)))
            shown.on("request", lambda request: complaints.append(request.url))
            shown.goto(f"file://{path}{hash}")
            shown.wait_for_selector("html[data-ready]")
            assert complaints.pop(0).startswith("file://")
            return shown

        yield open_page
        assert complaints == []


def examples(number: int = 120, **changes):
    """Every third is wrong, every sixth invalid too, two databases."""
    made = []
    for i in range(number):
        wrong = i % 3 == 0
        errors = ("wrong_columns", "missing_join")[: 1 + i % 2] if wrong else ()
        values = {
            "now": pages.answer(not wrong, *errors, valid=i % 6 != 0),
            "db_id": "school" if i % 2 else "shop",
            "details": pages.details(),
        }
        made.append(pages.case(i, **(values | changes)))
    return made


def matches(shown) -> str:
    return shown.inner_text("#matches")


def test_filters_and_search_narrow_the_list(opened, tmp_path):
    shown = opened(pages.html(examples(), tmp_path))
    assert matches(shown) == "120 of 120 examples"
    assert shown.locator("#rows tr").count() == 50
    shown.select_option("#verdict", "wrong")
    assert matches(shown) == "40 of 120 examples"
    shown.select_option("#hardness", "easy")
    assert matches(shown) == "10 of 120 examples"
    shown.select_option("#hardness", "")
    shown.select_option("#database", "school")
    assert matches(shown) == "20 of 120 examples"
    shown.select_option("#error", "missing_join")
    assert matches(shown) == "20 of 120 examples"
    shown.fill("#q", "QUESTION 99?")
    assert matches(shown) == "1 of 120 examples"
    shown.fill("#q", "nowhere to be found")
    assert shown.is_visible("#nothing")
    shown.click("#clear")
    assert matches(shown) == "120 of 120 examples"
    shown.select_option("#verdict", "invalid")
    assert matches(shown) == "20 of 120 examples"


def test_a_view_can_be_linked(opened, tmp_path):
    shown = opened(pages.html(examples(), tmp_path), "#verdict=wrong&example=dev%2F0003")
    assert matches(shown) == "40 of 120 examples"
    assert "Question 3?" in shown.inner_text("#sheet")
    shown.keyboard.press("Escape")
    shown.wait_for_function("location.hash == '#verdict=wrong'")
    assert shown.is_hidden("#sheet")


def test_an_example_shows_what_its_answer_was_chosen_from(opened, tmp_path):
    candidates = [
        {
            "sql": "SELECT 1",
            "count": 2,
            "chosen": True,
            "logprob": -0.5,
            "mean": -0.1,
            "masked": None,
        }
    ]
    shown = opened(pages.html(examples(4, details=pages.details(candidates=candidates)), tmp_path))
    shown.click("#rows button.open >> nth=3")
    shown.click("summary >> text=Candidates: 2 answers")
    assert "SELECT 1 (chosen)" in shown.inner_text("#sheet")


def test_a_bar_of_the_chart_leads_to_its_examples(opened, tmp_path):
    shown = opened(pages.html(examples(), tmp_path))
    shown.click("a[href='#error=missing_join']")
    assert matches(shown) == "20 of 120 examples"
    assert shown.input_value("#error") == "missing_join"


def test_an_example_opens_to_queries_findings_results_and_schema(opened, tmp_path):
    text = "```sql\nSELECT id FROM student\n```"
    shown = opened(pages.html(examples(details=pages.details(text=text)), tmp_path))
    shown.click("#rows button.open >> nth=3")
    shown.wait_for_selector("#sheet[open]")
    sheet = shown.inner_text("#sheet")
    for part in ("Question 3?", "about wrong_columns", "CREATE TABLE student", "12 rows", "NULL"):
        assert part in sheet
    assert shown.inner_text("mark.gold") == "name"
    assert shown.inner_text("mark.predicted") == "id"
    assert "Candidates" not in sheet
    shown.click("summary >> text=Model text")
    assert text in shown.inner_text("#sheet")


def test_the_keyboard_reaches_everything(opened, tmp_path):
    shown = opened(pages.html(examples(), tmp_path))
    shown.emulate_media(reduced_motion="reduce")  # Scrolls at once.
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.className") == "skip"
    shown.keyboard.press("Enter")
    assert shown.evaluate("document.activeElement.id") == "examples"
    shown.keyboard.press("/")
    assert shown.evaluate("document.activeElement.id") == "q"
    shown.keyboard.press("ArrowDown")
    assert shown.evaluate("document.activeElement.textContent") == "Question 0?"
    in_sight = "document.activeElement.getBoundingClientRect().bottom <= innerHeight"
    assert shown.evaluate(in_sight)
    shown.focus("#rows button.open")
    for _ in range(50):
        shown.keyboard.press("ArrowDown")
    assert shown.inner_text("#page-number") == "2 / 3"
    assert shown.evaluate("document.activeElement.textContent") == "Question 50?"
    shown.keyboard.press("ArrowUp")
    assert shown.evaluate("document.activeElement.textContent") == "Question 49?"
    shown.keyboard.press("Enter")
    shown.wait_for_selector("#sheet[open]")
    shown.keyboard.press("ArrowRight")
    shown.wait_for_function("document.querySelector('#sheet-question').textContent=='Question 50?'")
    shown.keyboard.press("ArrowLeft")
    shown.wait_for_function("document.querySelector('#sheet-question').textContent=='Question 49?'")
    shown.keyboard.press("Escape")
    shown.wait_for_selector("#sheet", state="hidden")
    shown.wait_for_function("document.activeElement.textContent == 'Question 49?'")


def test_hostile_text_shows_as_text(opened, tmp_path):
    result = {"status": "ok", "message": "", "columns": [HOSTILE], "rows": [[HOSTILE]], "total": 1}
    failed = {"status": "error", "message": HOSTILE, "columns": [], "rows": [], "total": 0}
    hostile = pages.details(
        HOSTILE,
        HOSTILE,
        text=HOSTILE,
        note=HOSTILE,
        findings=[["wrong_value", HOSTILE]],
        goldResult=result,
        predictedResult=failed,
    )
    made = examples(3, details=hostile, question=HOSTILE, gold=HOSTILE, sql=HOSTILE, db_id=HOSTILE)
    shown = opened(pages.html(made, tmp_path, schema=HOSTILE, source=HOSTILE))
    assert HOSTILE in shown.inner_text("#rows")
    shown.click("#rows button.open >> nth=0")
    shown.wait_for_selector("#sheet[open]")
    assert shown.inner_text("#sheet").count("onerror") >= 8
    assert shown.evaluate("window.hacked") is None
    assert shown.locator("img").count() == 0


def test_the_page_may_ask_nothing_of_the_network(opened, tmp_path):
    shown = opened(pages.html(examples(3), tmp_path))
    policy = shown.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_changes_against_a_baseline_can_be_listed(opened, tmp_path):
    wrong, right = pages.answer(False, "wrong_columns"), pages.answer()
    result = pages.details()["goldResult"]
    before = {"predicted": "SELECT 7", "findings": [["extra_join", "was"]], "result": result}
    before["question"] = "Which clients?"
    made = [
        pages.case(i, now=now, baseline=old, details=pages.details(baseline=before))
        for i, (old, now) in enumerate([(wrong, right), (right, wrong), (right, right)])
    ]
    shown = opened(pages.html(made, tmp_path))
    # A hollow circle for each of 3 levels, 3 numbers of joins, 1 database and 4 measures.
    assert shown.locator("circle.before").count() == 11
    shown.click("a[href='#verdict=better']")
    assert matches(shown) == "1 of 3 examples"
    assert shown.inner_text("#rows .id") == "dev/0000"
    shown.click("#rows button.open")
    shown.wait_for_selector("#sheet[open]")
    assert "SELECT 7" in shown.inner_text("#sheet")
    assert "Asked there: Which clients?" in shown.inner_text("#sheet")


def test_a_question_without_gold_is_shown_without_a_verdict(opened, tmp_path):
    now = pages.answer(None)
    shown_details = pages.details(gold=None, goldResult=None, findings=[])
    example = pages.case(0, now=now, gold=None, features={}, details=shown_details)
    shown = opened(pages.html([example], tmp_path))
    shown.select_option("#verdict", "unjudged")
    assert matches(shown) == "1 of 1 examples"
    shown.click("#rows button.open")
    shown.wait_for_selector("#sheet[open]")
    assert "This question has no gold query." in shown.inner_text("#sheet")
    assert shown.locator("#sheet .panel").count() == 2


def test_why_two_results_do_not_agree_is_said(opened, tmp_path):
    result = pages.details()["goldResult"] | {"rows": [["3"]]}
    reason = "3 is a number in gold and text in the prediction"
    alike = pages.details(
        reason=reason, goldResult=result | {"rows": [[3]]}, predictedResult=result
    )
    other = pages.details(reason=reason)
    made = [pages.case(i, now=pages.answer(False), details=d) for i, d in enumerate((alike, other))]
    shown = opened(pages.html(made, tmp_path), "#example=dev%2F0000")
    assert "look the same and are not: 3 is a number in gold" in shown.inner_text("#sheet")
    shown.keyboard.press("ArrowRight")
    shown.wait_for_function("document.querySelector('#sheet-question').textContent=='Question 1?'")
    assert "Why they do not agree: 3 is a number in gold" in shown.inner_text("#sheet")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened, tmp_path, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1 between text and what lies behind it."""
    shown = opened(pages.html(examples(3), tmp_path), color_scheme=scheme)
    colours = shown.evaluate(
        """() => Object.fromEntries(['paper', 'raised', 'ink', 'muted', 'right', 'right-tint',
          'wrong', 'wrong-tint', 'notice', 'notice-tint'].map((name) =>
          [name, getComputedStyle(document.documentElement).getPropertyValue('--' + name)]))"""
    )
    pairs = [(text, back) for text in ("ink", "muted", "right", "wrong") for back in ("paper",)]
    pairs += [("ink", "raised"), ("muted", "raised"), ("right", "raised"), ("ink", "right-tint")]
    pairs += [("ink", "wrong-tint"), ("wrong", "wrong-tint"), ("notice", "notice-tint")]
    pairs += [("muted", "wrong-tint"), ("muted", "right-tint")]
    ratios = {pair: contrast(*(colours[name].strip() for name in pair)) for pair in pairs}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def contrast(one: str, other: str) -> float:
    """The ratio of https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_phone_shows_it_without_scrolling_sideways(opened, tmp_path):
    made = examples(60, sql="SELECT " + "a_very_long_name, " * 40)
    shown = opened(pages.html(made, tmp_path), viewport={"width": 360, "height": 740})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    shown.click("#rows button.open >> nth=0")
    shown.wait_for_selector("#sheet[open]")
    assert shown.evaluate("document.querySelector('#sheet-body').scrollWidth") <= 360


def test_ten_thousand_examples_are_listed_and_searched_at_once(opened, tmp_path):
    html = pages.html(examples(10_000), tmp_path)
    started = time.monotonic()
    shown = opened(html)
    assert time.monotonic() - started < 5
    milliseconds = shown.evaluate(
        """() => { const started = performance.now();
          document.querySelector('#q').value = 'Question 99';
          document.querySelector('#filters').dispatchEvent(new Event('input'));
          return performance.now() - started; }"""
    )
    assert matches(shown) == "111 of 10,000 examples"
    assert milliseconds < 500


def test_above_ten_thousand_the_page_holds_a_sample_and_says_so(tmp_path):
    chosen = page.sample(25_000)
    assert len(chosen) == page.MOST_EXAMPLES
    assert chosen == page.sample(25_000)
    assert max(chosen) > 24_000 and min(chosen) < 1_000
    assert page.sample(10_000) == range(10_000)
    made = [pages.case(i, details=pages.details() if i < 2 else None) for i in range(5)]
    assert "2 of 5 examples: a uniform sample" in pages.html(made, tmp_path)
