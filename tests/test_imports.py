"""Which folder of t2sql/ may import which: the README's list, read from top to bottom."""

import ast
import collections
import graphlib
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = {"main", "train", "average", "inspect"}


def _imports(path: pathlib.Path, *, everywhere: bool) -> set[str]:
    """The modules of t2sql that a file imports, within functions too or at its top alone."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name for name in names if name.startswith("t2sql.")}


def _folders(*, everywhere: bool) -> dict[str, set[str]]:
    """The folders and files at the top of t2sql/ that each of them imports."""
    imported = collections.defaultdict(set)
    for path in (ROOT / "t2sql").rglob("*.py"):
        folder = path.relative_to(ROOT / "t2sql").parts[0].removesuffix(".py")
        imported[folder] |= {name.split(".")[1] for name in _imports(path, everywhere=everywhere)}
    return {folder: others - {folder} for folder, others in imported.items()}


def test_no_folder_imports_what_is_built_on_it():
    imported = _folders(everywhere=True)
    for folder in ("model", "data", "storage"):
        assert "runs" not in imported[folder], folder
    assert "evaluation" not in imported["runs"]
    for folder, others in imported.items():
        assert not others & COMMANDS, folder


def test_the_folders_go_round_in_no_circle():
    tuple(graphlib.TopologicalSorter(_folders(everywhere=False)).static_order())


def test_what_evaluates_and_reports_needs_no_jax():
    commands = [f"t2sql.{folder}.command" for folder in ("report", "choose")]
    program = (
        f"import sys, {', '.join(commands)}; "
        "heavy = {'jax', 'flax', 'gemma', 'grain'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
