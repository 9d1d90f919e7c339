"""The style that is checked by tools, and what no file of the repository may hold."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def tracked(*patterns: str) -> list[str]:
    """Paths that git knows, relative to the root; all where no pattern is given."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, text=True
    )
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def check(*command: str) -> None:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_ruff_finds_nothing():
    check(sys.executable, "-m", "ruff", "check", ".")


def test_ruff_would_format_nothing():
    check(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_shellcheck_finds_nothing():
    scripts = tracked("*.sh", ".ci/run")
    assert len(scripts) > 3
    shellcheck = pathlib.Path(sys.executable).parent / "shellcheck"
    check(str(shellcheck), "--external-sources", "--source-path=SCRIPTDIR", *scripts)


def test_scripts_stop_at_the_first_error():
    for name in tracked("*.sh", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not text.startswith("#!") or "\nset -euo pipefail\n" in text, name


def test_constraints_are_exact_and_name_no_place():
    lines = (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    wrong = [pin for pin in pins if not re.fullmatch(r"[a-z0-9._-]+==[a-z0-9.+]+", pin)]
    assert not wrong
