"""Shows one example as the model sees it: prompt, token ids and pieces, length, bucket.

    python -m t2sql.inspect --config=configs/quickstart.py --index=3

Exit codes: 0 done, 1 a bug, 2 bad input, 75 try again.
"""

from absl import flags, logging
from ml_collections import config_flags

from t2sql import config as config_lib
from t2sql import errors
from t2sql.runtime import cli

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, as for t2sql.main.")
_INDEX = flags.DEFINE_integer("index", 0, "Index of the example in the split's file.")


def main(argv) -> None:
    from t2sql.data import from_config
    from t2sql.model import factory
    from t2sql.runtime import progress

    config = _CONFIG.value
    config_lib.check_keys(config)
    prompt = from_config.make_prompt(config)
    examples = from_config.read_examples(config, prompt)
    if not 0 <= _INDEX.value < len(examples):
        raise errors.InputError(
            f"--index is {_INDEX.value}; --config.data names examples 0 to {len(examples) - 1}"
        )
    tokenizer = factory.make_factory(config).tokenizer
    _show(examples[_INDEX.value], prompt, tokenizer, config.prompt_buckets, progress.make_console())


def _show(example, prompt, tokenizer, buckets, console) -> None:
    text = prompt.text(example)
    ids = [int(token) for token in tokenizer.encode(text, add_bos=True)]
    decoded = tokenizer.decode(ids)
    gold = example.query or "(none given)"
    _section(console, f"{example.example_id}  {example.db_id}", f"gold: {gold}")
    _section(console, f"prompt {prompt.name!r}", text)
    _section(console, "tokens", " ".join(f"{token}:{tokenizer.tokens[token]!r}" for token in ids))
    same = decoded == text
    _section(console, "decoded back", "the prompt, to the letter" if same else decoded)
    size = next((bucket for bucket in buckets if len(ids) <= bucket), None)
    fits = f"in a bucket of {size}" if size else f"over the largest bucket, {buckets[-1]}"
    _section(console, "length", f"{len(ids)} tokens, {fits} (before the schema is shared)")


def _section(console, title: str, body: str) -> None:
    console.print(f"[bold]{title}[/bold]", highlight=False)
    console.print(body, markup=False, highlight=False)
    console.print()


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    flags.mark_flag_as_required("config")
    cli.run(main)
