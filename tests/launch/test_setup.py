"""`launch/setup.sh`, run for real on a repository of the same shape without dependencies."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

REPOSITORY = pathlib.Path(__file__).parents[2]
SETUP_PY = """
import setuptools
setuptools.setup(name="t2sql", version="1", packages=["t2sql"],
                 extras_require=dict(weights=[], dev=[], gpu=["no-such-package==1"]))
"""
# What setup.sh uses of a bare Linux, uv and Python aside.
TOOLS = (
    *("bash", "cat", "cut", "dirname", "flock", "mkdir", "paste", "rm"),
    *("sed", "sha256sum", "sort", "tail", "timeout", "tr", "uname"),
)


@pytest.fixture
def clone(tmp_path):
    root = tmp_path / "a clone"
    (root / "t2sql").mkdir(parents=True)
    (root / "t2sql" / "__init__.py").write_text("")
    (root / "setup.py").write_text(SETUP_PY)
    (root / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\n')
    shutil.copytree(REPOSITORY / "launch", root / "launch")
    (root / "requirements").mkdir()
    shutil.copy(REPOSITORY / "requirements" / "constraints.txt", root / "requirements")
    _borrow_uv(root)
    return root


def _borrow_uv(root: pathlib.Path) -> None:
    """Saves the download where the repository's own set-up has made it."""
    if (REPOSITORY / ".uv" / "tool").exists():
        shutil.copytree(REPOSITORY / ".uv" / "tool", root / ".uv" / "tool", copy_function=os.link)


def run_setup(clone, *extras, path=None, check=True):
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    result = subprocess.run(
        [clone / "launch" / "setup.sh", *extras],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def run_python(clone, code):
    python = clone / ".venv" / "bin" / "python"
    return subprocess.check_output([python, "-c", code], cwd="/", text=True)


def extras_of(clone):
    return (clone / ".venv" / "t2sql-extras").read_text().splitlines()[1]


def test_makes_an_environment_that_has_the_package(clone):
    run_setup(clone, "weights")
    where = run_python(clone, "import t2sql, sys; print(t2sql.__file__, sys.version)")
    assert where.startswith(str(clone / "t2sql"))
    assert " 3.12." in where or " 3.13." in where


def test_second_run_does_nothing_and_says_nothing(clone):
    run_setup(clone, "weights")
    made = (clone / ".venv" / "pyvenv.cfg").stat().st_mtime_ns
    assert run_setup(clone, "weights").stdout == ""
    assert (clone / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == made


def test_extras_add_up(clone):
    run_setup(clone, "weights")
    assert "dev weights" in run_setup(clone, "dev").stdout
    assert extras_of(clone) == "dev weights"
    assert run_setup(clone, "weights").stdout == ""


def test_a_changed_pin_is_installed(clone):
    run_setup(clone)
    (clone / "setup.py").write_text(SETUP_PY.replace('version="1"', 'version="2"'))
    run_setup(clone)
    version = run_python(clone, "import importlib.metadata as m; print(m.version('t2sql'))")
    assert version.strip() == "2"


def test_a_half_made_environment_is_made_again(clone):
    run_setup(clone)
    (clone / ".venv" / "t2sql-extras").unlink()
    (clone / ".venv" / "bin" / "python").unlink()
    assert "incomplete or broken" in run_setup(clone).stdout


def test_survives_a_kill_at_any_moment(clone):
    for delay in (0.2, 0.8):
        process = subprocess.Popen(
            [clone / "launch" / "setup.sh"],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run_setup(clone)
    run_python(clone, "import t2sql")


def test_passes_over_pythons_that_do_not_run_or_do_not_fit(clone, tmp_path):
    shims = tmp_path / "shims"
    shims.mkdir()
    _script(shims / "python3.12", 'echo "pyenv: python3.12: command not found" >&2; exit 127')
    _script(shims / "python3.13", "exit 1")
    _script(shims / "python3", "exit 1")
    path = f"{shims}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    run_setup(clone, path=path)
    assert (clone / ".venv" / "bin" / "python").resolve() != shims / "python3.12"
    run_python(clone, "import t2sql")


def test_finds_the_versions_beside_pyenvs_shims(clone, tmp_path):
    shims, versions = tmp_path / "shims", tmp_path / "versions"
    shims.mkdir()
    for name in ("python3.12", "python3.13", "python3", "python"):
        _script(shims / name, "exit 127")
    (versions / "3.12.9" / "bin").mkdir(parents=True)
    without_pip = f'[ "$1" != -m ] || exit 1; exec "{sys.executable}" "$@"'
    _script(versions / "3.12.9" / "bin" / "python3", without_pip)
    path = f"{shims}:{_tools(tmp_path)}"
    asked = tmp_path / "asked"
    _script(tmp_path / "tools" / "uv", f'printf "%s\\n" "$*" >>"{asked}"; exit 1')
    environment = {"PATH": path, "HOME": str(tmp_path)}
    shutil.rmtree(clone / ".uv", ignore_errors=True)
    subprocess.run([clone / "launch" / "setup.sh"], env=environment, capture_output=True)
    assert f"--python {versions}/3.12.9/bin/python3" in asked.read_text()


def test_uv_gets_the_index_and_the_certificates_that_pip_has(clone, tmp_path):
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.invalid/simple\ncert = /a/bundle.pem\n"
    )
    tool = clone / ".uv" / "tool" / "bin"
    shutil.rmtree(clone / ".uv", ignore_errors=True)
    tool.mkdir(parents=True)
    asked = tmp_path / "asked"
    pin = re.search("^uv==(.*)$", (clone / "requirements/constraints.txt").read_text(), re.M)
    body = f'echo "uv {pin[1]}"; echo "$UV_DEFAULT_INDEX $SSL_CERT_FILE" >"{asked}"'
    _script(tool / "uv", body)  # there already: an earlier run was interrupted
    unset = ("UV_DEFAULT_INDEX", "SSL_CERT_FILE", "PIP_INDEX_URL", "PIP_CERT")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment["PIP_CONFIG_FILE"] = str(tmp_path / "pip.conf")
    subprocess.run([clone / "launch" / "setup.sh"], env=environment, capture_output=True)
    assert asked.read_text() == "https://mirror.invalid/simple /a/bundle.pem\n"


def test_without_a_fitting_python_uv_is_asked_to_bring_one(clone, tmp_path):
    tools = _tools(tmp_path)
    shutil.rmtree(clone / ".uv", ignore_errors=True)
    asked = tmp_path / "asked"
    _script(tools / "uv", f'printf "%s\\n" "$*" >>"{asked}"; exit 1')
    result = subprocess.run(
        [clone / "launch" / "setup.sh"],
        env={"PATH": str(tools), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert asked.read_text() == "python install --no-bin 3.12\n"
    assert "uv brings one" in result.stderr
    assert "Installing Python 3.12 failed" in result.stderr


def test_a_failed_installation_shows_the_end_of_the_log(clone):
    result = run_setup(clone, "gpu", check=False)
    assert result.returncode == 1
    assert "no-such-package" in result.stderr
    assert "Run the same command again" in result.stderr
    assert not (clone / ".venv" / "t2sql-extras").exists()


def test_an_unknown_extra_is_bad_input(clone):
    result = run_setup(clone, "tpus", check=False)
    assert result.returncode == 2
    assert result.stderr == "error: unknown extra 'tpus': it is one of weights, tpu, gpu, dev\n"


def _tools(tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory that holds `TOOLS` and nothing else."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name))
    return tools


def _script(path: pathlib.Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{textwrap.dedent(body)}\n")
    path.chmod(0o755)
