"""tokenizer.json, as Hugging Face keeps Gemma's vocabulary, to and from a SentencePiece model.

It lists merges, first to last. A SentencePiece model has a score for each piece instead and merges
the best one first: a piece's score is the place of the first merge that makes it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from t2sql import errors
from t2sql.model import layout, sentencepiece_files
from t2sql.model.sentencepiece_files import PieceType, SentencePieceModel

NAME = "tokenizer.json"
SPACE = "▁"
# Raise when the conversion changes what it writes.
VERSION = 1
_TURNS = ("<start_of_turn>", "<end_of_turn>")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def convert(path: Path) -> bytes:
    """Returns a serialised SentencePiece model with the pieces, ids and merges of the file.

    Pieces past Gemma's vocabulary (placeholders for images) are left out.

    Raises:
      InputError: it cannot be read, or is no byte-pair encoding with bytes to fall back on.
    """
    try:
        content = json.loads(path.read_text())
        model = content["model"]
        if model["type"] != "BPE" or not model["byte_fallback"]:
            raise ValueError(
                f"a {model['type']} model, with byte_fallback {model['byte_fallback']}"
            )
        pieces = list(_pieces(content))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.InputError(
            f"--config.model.source: {path}: not a tokenizer of Gemma ({error}): its model has to"
            " be BPE with byte_fallback; name a SentencePiece file with --config.model.tokenizer"
        ) from error
    return sentencepiece_files.build(pieces)


def _pieces(content: dict[str, Any]) -> Iterator[tuple[str, float, int]]:
    """Text, score and type of each piece, by id."""
    vocabulary, merges = content["model"]["vocab"], content["model"]["merges"]
    added = {token["id"]: token["content"] for token in content["added_tokens"]}
    by_id = {index: piece for piece, index in vocabulary.items()} | added
    scores: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        scores.setdefault(left + right, -rank)
    for index in range(min(len(by_id), layout.VOCAB_SIZE)):
        piece = by_id[index]
        if index in added:
            yield piece, 0.0, PieceType.USER_DEFINED
        elif _BYTE.fullmatch(piece):
            yield piece, 0.0, PieceType.BYTE
        else:
            # Characters are not merged, so their score is never compared.
            yield piece, float(scores.get(piece, -len(merges))), PieceType.NORMAL


def write(path: Path, sentencepiece: Path) -> None:
    """Writes the pieces, ids and merges of a SentencePiece model for the tokenizers package."""
    pieces = SentencePieceModel.FromString(sentencepiece.read_bytes()).pieces
    control = (PieceType.CONTROL, PieceType.UNKNOWN)
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": piece.piece,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                # Runs of spaces are found where spaces are replaced already.
                "normalized": SPACE in piece.piece,
                "special": piece.type in control or piece.piece in _TURNS,
            }
            for index, piece in enumerate(pieces)
            if piece.type in (*control, PieceType.USER_DEFINED)
        ],
        "normalizer": _replace(" ", SPACE),
        "pre_tokenizer": None,
        "post_processor": _with_bos(pieces[sentencepiece_files.BOS].piece),
        "decoder": {
            "type": "Sequence",
            "decoders": [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": pieces[sentencepiece_files.UNK].piece,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece.piece: index for index, piece in enumerate(pieces)},
            "merges": _merges(pieces),
        },
    }
    path.write_text(json.dumps(content, ensure_ascii=False))


def _replace(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def _with_bos(bos: str) -> dict[str, Any]:
    """What puts the token that begins a text before it."""
    first, text = (
        {"SpecialToken": {"id": bos, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    )
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, first, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {bos: {"id": bos, "ids": [sentencepiece_files.BOS], "tokens": [bos]}},
    }


def _merges(pieces: Sequence[SentencePieceModel.SentencePiece]) -> list[list[str]]:
    """All ways to make a piece of two, the piece with the best score first."""
    scores = {piece.piece: piece.score for piece in pieces if piece.type == PieceType.NORMAL}
    return [
        [piece[:cut], piece[cut:]]
        for piece in sorted(scores, key=scores.get, reverse=True)
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
