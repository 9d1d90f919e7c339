"""Loads a tokenizer and checks that it is the model's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from t2sql import errors

_SPECIAL = {
    "PAD": "<pad>",
    "EOS": "<eos>",
    "BOS": "<bos>",
    "START_OF_TURN": "<start_of_turn>",
    "END_OF_TURN": "<end_of_turn>",
}


def load(tokenizer_cls: Callable[[Path], Any], path: Path) -> Any:
    """Returns `tokenizer_cls(path)`, its special tokens checked.

    Raises:
      InputError: no such file, not a SentencePiece model, or special tokens at other ids.
    """
    if not path.is_file():
        raise errors.InputError(f"--config.model.tokenizer: {path}: no such file")
    tokenizer = tokenizer_cls(path)
    try:
        tokenizer.vocab_size  # noqa: B018 - the file is read here
    except (RuntimeError, ValueError) as error:
        raise errors.InputError(
            f"--config.model.tokenizer: {path}: not a SentencePiece model"
        ) from error
    for name, piece in _SPECIAL.items():
        expected_id, piece_id = int(tokenizer.special_tokens[name]), _id_of(tokenizer, piece)
        if piece_id != expected_id:
            raise errors.InputError(
                f"--config.model.tokenizer: {path} is not a tokenizer of this model: it has {piece}"
                f" {'nowhere' if piece_id is None else f'at id {piece_id}'}, not at id"
                f" {expected_id}"
            )
    return tokenizer


def check_vocabulary(tokenizer: Any, rows: int, path: Path) -> None:
    """Raises InputError unless the tokenizer has as many pieces as the model has rows."""
    if tokenizer.vocab_size != rows:
        raise errors.InputError(
            f"--config.model.tokenizer: {path} has {tokenizer.vocab_size:,} pieces and the model"
            f" {rows:,}; it is the tokenizer of another model"
        )


def _id_of(tokenizer: Any, piece: str) -> int | None:
    try:
        return int(tokenizer.encode([piece])[0])
    except ValueError:  # gemma's tokenizers refuse unknown pieces.
        return None
