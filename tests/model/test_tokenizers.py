import pytest
from dummy_files import make_factory

from t2sql import errors
from t2sql.model import dummy, sentencepiece_files
from t2sql.model.sentencepiece_files import PieceType


def use(path, content, tmp_path):
    path.write_bytes(content)
    return make_factory("dummy:0", tmp_path, tokenizer_path=path)


def test_a_file_of_ones_own_is_taken(tmp_path):
    factory = use(tmp_path / "own.model", dummy.tokenizer_model(), tmp_path)
    assert factory.tokenizer.decode(factory.tokenizer.encode("SELECT 1")) == "SELECT 1"


def test_no_such_file(tmp_path):
    factory = make_factory("dummy:0", tmp_path, tokenizer_path=tmp_path / "absent.model")
    with pytest.raises(errors.InputError, match=r"model.tokenizer: .*absent.model: no such file"):
        _ = factory.tokenizer


@pytest.mark.parametrize("content", [b"", b"<html>", dummy.tokenizer_model()[:-100]])
def test_not_a_sentencepiece_file(tmp_path, content):
    factory = use(tmp_path / "bad.model", content, tmp_path)
    with pytest.raises(errors.InputError, match=r"bad.model: not a SentencePiece model"):
        _ = factory.tokenizer


def vocabulary(*special):
    pieces = [(text, 0.0, PieceType.USER_DEFINED) for text in ("<pad>", "<eos>", "<bos>", "<unk>")]
    pieces += [(text, 0.0, PieceType.USER_DEFINED) for text in special]
    pieces += [(f"<0x{byte:02X}>", 0.0, PieceType.BYTE) for byte in range(256)]
    return sentencepiece_files.build(pieces)


def test_special_tokens_at_other_ids(tmp_path):
    content = vocabulary("<start_of_turn>", "<end_of_turn>")
    with pytest.raises(errors.InputError, match="<start_of_turn> at id 4, not at id 105"):
        _ = use(tmp_path / "gemma2.model", content, tmp_path).tokenizer


def test_special_tokens_absent(tmp_path):
    with pytest.raises(errors.InputError, match="<start_of_turn> nowhere, not at id 105"):
        _ = use(tmp_path / "llama.model", vocabulary(), tmp_path).tokenizer


def test_vocabulary_of_another_size(tmp_path):
    filler = [f"<filler{i}>" for i in range(101)]
    content = vocabulary(*filler, "<start_of_turn>", "<end_of_turn>")
    with pytest.raises(errors.InputError, match="363 pieces and the model 512"):
        _ = use(tmp_path / "other.model", content, tmp_path).tokenizer
