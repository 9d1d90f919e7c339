"""Averages adapters: several trainings in one.

    python -m t2sql.average --adapters=runs/a/last,runs/b/last,runs/c/last --output=runs/mean

The trainings begin with the same factors (one --config.train.seed) and differ in learning rate
or length. Their mean, factor by factor, is an adapter like them, and often a better one.

Exit codes: 0 done, 2 bad input.
"""

from absl import flags

from t2sql import errors, storage
from t2sql.runtime import cli
from t2sql.storage import local_cache

_ADAPTERS = flags.DEFINE_list(
    "adapters", None, "Adapters: folders, local or gs://, or package:NAME.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for their mean.", required=True)


def main(argv: list[str]) -> None:
    """Reads, averages and writes."""
    del argv
    sources, folder = _ADAPTERS.value, storage.local_folder(_OUTPUT.value, "--output")
    if len(sources) < 2:
        raise errors.InputError(f"--adapters={','.join(sources)}: two or more different adapters")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise errors.InputError(f"--output={folder} is there already: give a new folder")
    # Imported here so that --help and wrong flags answer at once.
    from t2sql.model import adapters

    files = [
        adapters.resolve(source, cache_dir=local_cache.default_dir(), flag="--adapters")
        for source in sources
    ]
    if len({file.sha256 for file in files}) < len(files):
        raise errors.InputError(f"--adapters={','.join(sources)}: two of them are the same")
    first = files[0]
    try:
        adapters.save(
            folder,
            adapters.mean(files),
            base=first.base,
            rank=first.rank,
            targets=list(first.targets),
            prompt=first.prompt,
            training={
                "mean_of": [{"sha256": file.sha256, "training": file.training} for file in files]
            },
        )
    except OSError as error:
        raise errors.InputError(f"--output={folder} cannot be written: {error}") from error
    print(f"the mean of {len(files)} adapters: {folder}")


if __name__ == "__main__":
    cli.run(main)
