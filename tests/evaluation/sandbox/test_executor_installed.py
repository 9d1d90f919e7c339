"""The workers of the pool find the package where only an import hook knows of it."""

import pathlib
import sqlite3
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).parents[3]
# As setuptools' editable installation does it: no entry of sys.path leads to the package.
HOOKED = f"""
import importlib.util, pathlib, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "t2sql":
            init = "{REPOSITORY}/t2sql/__init__.py"
            return importlib.util.spec_from_file_location(name, init)

sys.path[:] = [entry for entry in sys.path if entry not in ("", "{REPOSITORY}")]
sys.meta_path.append(Finder())
from t2sql.evaluation.sandbox.executor import Executor
with Executor(workers=1) as executor:
    print(executor.run(pathlib.Path(sys.argv[1]), "SELECT 40 + 2").rows)
"""


def test_an_editable_installation_will_do(tmp_path):
    database = tmp_path / "empty.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE t (a)")
    done = subprocess.run(
        [sys.executable, "-c", HOOKED, database], cwd="/", capture_output=True, text=True
    )
    assert done.stdout == "((42,),)\n", done.stderr
