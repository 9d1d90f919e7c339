"""Where answers stand, with what has been found out about the tokens that may follow."""

import dataclasses

from t2sql.constraint.lexer import Position

# More tokens than any answer has.
NEVER = 10**9


@dataclasses.dataclass(slots=True, eq=False)
class Node:
    """A position in a query, for all answers over a schema that come there.

    Attributes:
      position: in the query; None behind the end token.
      after: the node that each token leads to; None where no query goes on so.
      kept: as `after`, for tokens of the model's own: None for those it may not keep, and the
        fewest tokens left with which it was seen to leave room for an end.
    """

    position: Position | None
    after: dict[int, "Node | None"] = dataclasses.field(default_factory=dict)
    kept: dict[int, tuple["Node | None", int]] = dataclasses.field(default_factory=dict)

    def forget(self) -> None:
        """Drops what has been found out."""
        self.after.clear()
        self.kept.clear()
