"""tokenizer.json and SentencePiece models: each becomes the other, with one way to cut texts."""

import json

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from t2sql.model import dummy, sentencepiece_files, tokenizer_json
from t2sql.model.sentencepiece_files import PieceType

# In the place of the dummy's last pieces; of two merges the first is done before the second.
MERGED = ["▁S", "EL", "SEL", "▁SEL", "EC", "▁▁", "ab", "bc", "abc", *"SELCabc"]
TEXTS = [
    "SELECT  a FROM t",
    "abcbc ECT EL",
    "naïve 'São Paulo' – 東京 🙂",
    "<start_of_turn>user\nSELSEL<end_of_turn>",
    "   abab\n\n",
    "",
]


@pytest.fixture
def model(tmp_path):
    pieces = sentencepiece_model.ModelProto.FromString(dummy.tokenizer_model()).pieces
    cut = [(piece.piece, piece.score, piece.type) for piece in pieces[: -len(MERGED)]]
    merged = [(piece, -float(rank), PieceType.NORMAL) for rank, piece in enumerate(MERGED)]
    path = tmp_path / "tokenizer.model"
    path.write_bytes(sentencepiece_files.build([*cut, *merged]))
    return path


def encode(content):
    return sentencepiece.SentencePieceProcessor(model_proto=content).encode(TEXTS)


def test_there_and_back_again(model, tmp_path):
    tokenizer_json.write(tmp_path / "tokenizer.json", model)
    assert encode(tokenizer_json.convert(tmp_path / "tokenizer.json")) == encode(model.read_bytes())


def test_merges_are_all_ways_to_make_a_piece_best_first(model, tmp_path):
    tokenizer_json.write(tmp_path / "tokenizer.json", model)
    merges = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["merges"]
    assert merges[:4] == [["▁", "S"], ["E", "L"], ["S", "EL"], ["▁", "SEL"]]
    assert merges[-2:] == [["a", "bc"], ["ab", "c"]]
    assert ["▁S", "EL"] in merges


def test_pieces_past_gemmas_vocabulary_are_left_out(model, tmp_path, monkeypatch):
    tokenizer_json.write(tmp_path / "tokenizer.json", model)
    monkeypatch.setattr("t2sql.model.layout.VOCAB_SIZE", 500)
    content = tokenizer_json.convert(tmp_path / "tokenizer.json")
    assert sentencepiece.SentencePieceProcessor(model_proto=content).vocab_size() == 500


def test_merges_may_be_written_as_strings(model, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer_json.write(path, model)
    content = json.loads(path.read_text())
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    path.write_text(json.dumps(content))
    assert encode(tokenizer_json.convert(path)) == encode(model.read_bytes())
