"""Builds SentencePiece models from a vocabulary."""

from collections.abc import Iterable

from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

SentencePieceModel = sentencepiece_model.ModelProto
PieceType = SentencePieceModel.SentencePiece
PAD, EOS, BOS, UNK = range(4)


def build(pieces: Iterable[tuple[str, float, int]]) -> bytes:
    """Returns a serialised BPE model with Gemma's settings.

    Those are: ids 0 to 3 for padding, end, begin and unknown, byte fallback, no
    dummy prefix, no normalising.

    Args:
      pieces: text, score and `PieceType` of each, in the order of their ids.
    """
    model = SentencePieceModel()
    for piece, score, piece_type in pieces:
        model.pieces.add(piece=piece, score=score, type=piece_type)
    for index in (PAD, EOS, BOS):
        model.pieces[index].type = PieceType.CONTROL
    model.pieces[UNK].type = PieceType.UNKNOWN
    trainer = model.trainer_spec
    trainer.model_type = sentencepiece_model.TrainerSpec.BPE
    trainer.vocab_size = len(model.pieces)
    trainer.byte_fallback = True
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = PAD, EOS, BOS, UNK
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    return model.SerializeToString()
