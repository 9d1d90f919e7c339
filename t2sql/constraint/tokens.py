"""What the tokens of a vocabulary are to a position of a query."""

from t2sql.constraint import lexer
from t2sql.constraint.lexer import Position
from t2sql.constraint.vocabulary import Vocabulary


def step(vocabulary: Vocabulary, position: Position, token: int) -> Position | None:
    """The position after a token; None where it is no text or does not go on with a query."""
    literal = lexer.open_quote(position) is not None
    if not (vocabulary.in_literals if literal else vocabulary.outside_literals)[token]:
        return None
    is_word = vocabulary.words[b""][token]
    if is_word and lexer.is_long_enough(position):
        return None
    piece = vocabulary.pieces[token]
    if is_word:
        return lexer.add_word(position, piece.lower())
    if vocabulary.words[b" "][token]:
        apart = lexer.step(position, ord(" "))
        return None if apart is None else lexer.add_word(apart, piece[1:].lower())
    return lexer.steps(position, piece) if piece else None


def is_free_text(vocabulary: Vocabulary, position: Position, token: int) -> bool:
    """Whether a token goes on with a text, or with a name of the answer's own choice.

    The query can be ended with as many tokens whichever of these it is.
    """
    if (quote := lexer.open_quote(position)) is not None:
        return not vocabulary.quotes[quote][token]
    if lexer.takes_any_word(position) and vocabulary.words[b""][token]:
        return True
    return bool(lexer.takes_any_word_after_space(position) and vocabulary.words[b" "][token])
