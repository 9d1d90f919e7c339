"""README.md and docs/: what they name is there."""

import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"\b(?:t2sql|tests|configs|launch|benchmarks|docs)/[\w./-]*(?:\.\w+|/)(?![\w*])")
_MODULE = re.compile(r"python -m ((?:t2sql|benchmarks)\.\w+)")


def _anchors(page: pathlib.Path) -> set[str]:
    """The names of a page's headings, as links spell them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in _LINK.findall(page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_module_is_there(page):
    text = page.read_text()
    paths = _PATH.findall(text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    modules = [name for name in _MODULE.findall(text) if importlib.util.find_spec(name) is None]
    assert modules == []


def test_the_map_has_a_line_for_every_folder():
    named = re.findall(r"^  (\w+)/ +\S", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / "t2sql").glob("*/__init__.py")}
    assert sorted(named) == sorted(folders)
