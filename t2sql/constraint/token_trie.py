"""Finds the tokens that may follow a position, without trying all 262,144 of them."""

import itertools
import os
from collections.abc import Iterable

from t2sql.constraint import lexer
from t2sql.constraint.lexer import Position


class TokenTrie:
    """Tokens by their bytes, as the nodes of a trie in depth-first order.

    Args:
      tokens: each with its bytes.
    """

    def __init__(self, tokens: Iterable[tuple[bytes, int]]):
        self._bytes: list[int] = []
        self._depths: list[int] = []
        self._ends: list[int] = []  # the node after the last one below each node
        self._tokens: list[tuple[int, ...]] = []
        open_nodes: list[int] = []
        before = b""
        for piece, group in itertools.groupby(sorted(tokens), key=lambda token: token[0]):
            shared = len(os.path.commonprefix((before, piece)))
            self._close(open_nodes, shared)
            for depth in range(shared, len(piece)):
                open_nodes.append(len(self._bytes))
                self._bytes.append(piece[depth])
                self._depths.append(depth)
                self._ends.append(0)
                self._tokens.append(())
            self._tokens[-1] = tuple(token for _, token in group)
            before = piece
        self._close(open_nodes, 0)

    def _close(self, open_nodes: list[int], depth: int) -> None:
        while len(open_nodes) > depth:
            self._ends[open_nodes.pop()] = len(self._bytes)

    def walk(self, position: Position) -> dict[int, Position]:
        """The tokens that may follow a position, each with the position after it."""
        step, after = lexer.step, {}
        positions = [position] * (max(self._depths, default=0) + 2)
        node, count = 0, len(self._bytes)
        while node < count:
            depth = self._depths[node]
            its = step(positions[depth], self._bytes[node])
            if its is None:
                node = self._ends[node]
            else:
                positions[depth + 1] = its
                for token in self._tokens[node]:
                    after[token] = its
                node += 1
        return after
