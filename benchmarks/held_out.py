"""The questions over held-out train databases, as a dev split: to choose by, in place of dev.

python -m benchmarks.held_out --data=SPIDER_DIR --output=runs/held_out

Those are the databases that a training never sees, with as many `train.held_out_databases`.
"""

import json
import pathlib

from absl import flags

from t2sql import errors, storage
from t2sql.runtime import cli

_DATA = flags.DEFINE_string("data", None, "Spider directory, with train.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "A new directory, in Spider's layout.", required=True)
_DATABASES = flags.DEFINE_integer(
    "databases", None, "How many databases; by default as a training.", lower_bound=1
)


def main(argv) -> None:
    del argv
    from t2sql.data import dataset
    from t2sql.training import config as config_lib
    from t2sql.training import data as data_lib

    root = pathlib.Path(_DATA.value).absolute()
    output = storage.local_folder(_OUTPUT.value, "--output")
    count = _DATABASES.value or config_lib.default_config().train.held_out_databases
    split = data_lib.read_split(dataset.as_folder(root), ("train",), compact=False, held_out=count)
    try:
        output.mkdir(parents=True)
        for name in ("database", "tables.json"):
            (output / name).symlink_to(root / name)
        (output / "dev.json").write_text(
            json.dumps(
                [
                    {
                        "db_id": example.db_id,
                        "question": example.question,
                        "query": example.query,
                    }
                    for example in split.held_out
                ]
            )
        )
    except OSError as error:
        raise errors.InputError(f"--output={output} cannot be written: {error}") from error
    print(f"{len(split.held_out)} questions: {output}")


if __name__ == "__main__":
    cli.run(main)
