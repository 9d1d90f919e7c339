import subprocess
import sys

_PROGRAM = """
import sys
from pathlib import Path
from t2sql.model import factory

config = factory.config_for("dummy", "dummy:0", cache_dir=Path(sys.argv[1]))
modules = factory.LLMModuleFactory(config).build()
heavy = {"tensorflow", "keras", "pandas", "sklearn", "tensorflow_datasets", "kauldron.train"}
print(sorted(heavy & sys.modules.keys()), "gemma.gm.ckpts._policy" in sys.modules)
"""


def test_building_a_model_imports_no_tensorflow_and_leaves_no_stand_in(tmp_path):
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    assert subprocess.check_output(command, text=True) == "[] False\n"
