"""A process that checks answers for the one that decodes; it imports neither JAX nor gemma.

It keeps the guides of the answers that it was given, and of each schema what it has found out. It
ends when its connection does: however the other process ends, no worker outlives it.
"""

import contextlib
import dataclasses
import signal
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from t2sql import errors
from t2sql.constraint.guide import Guide, Guides
from t2sql.constraint.masks import Mask
from t2sql.constraint.vocabulary import Vocabulary
from t2sql.data.schema import Schema
from t2sql.runtime import garbage


class Check(NamedTuple):
    """Tokens that an answer's guide is to take.

    Attributes:
      answer: its number.
      redrawn: whether the first token was drawn from the guide's mask.
      tokens: that follow.
    """

    answer: int
    redrawn: bool
    tokens: Sequence[int]


@dataclasses.dataclass(kw_only=True)
class Order:
    """What a worker is sent at a time.

    Attributes:
      schemas: by db_id; those that it does not know yet.
      begun: number, db_id and most tokens of each answer that begins.
      ended: numbers of answers that are not asked for any more.
      checks: for answers that have begun.
    """

    schemas: dict[str, Schema] = dataclasses.field(default_factory=dict)
    begun: list[tuple[int, str, int]] = dataclasses.field(default_factory=list)
    ended: list[int] = dataclasses.field(default_factory=list)
    checks: list[Check] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    """What it sends back.

    Attributes:
      accepted: tokens that stand, of each check.
      masks: what may come next where a token was refused, by the place of the check.
      bad_input: what is wrong with the input, if that is.
      bug: the traceback of any other error.
    """

    accepted: Sequence[int] = ()
    masks: dict[int, Mask] = dataclasses.field(default_factory=dict)
    bad_input: str = ""
    bug: str = ""


def main(
    connection: Connection,
    tokenizer: str,
    end_ids: Sequence[int],
    prefix: str,
    along_keys: bool,
) -> None:
    """Carries out orders until the connection ends.

    Args:
      connection: to the process that decodes.
      tokenizer: path of the SentencePiece model.
      end_ids: as `Vocabulary` takes them.
      prefix: as `Guides` takes it.
      along_keys: as `Guides` takes it.
    """
    # The process that decodes answers these, and this one ends with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    worker = _Worker(Vocabulary(Path(tokenizer).read_bytes(), end_ids), prefix, along_keys)
    with garbage.short_collections(), contextlib.suppress(EOFError, ConnectionError):
        while True:
            connection.send(worker.reply(connection.recv()))


class _Worker:
    def __init__(self, vocabulary: Vocabulary, prefix: str, along_keys: bool):
        self._schemas: dict[str, Schema] = {}
        self._guides = Guides(vocabulary, self._schemas, prefix, along_keys=along_keys)
        self._answers: dict[int, Guide] = {}

    def reply(self, order: Order) -> Reply:
        try:
            return self._carry_out(order)
        except errors.InputError as error:
            return Reply(bad_input=str(error))
        except Exception:
            return Reply(bug=traceback.format_exc())

    def _carry_out(self, order: Order) -> Reply:
        self._schemas |= order.schemas
        for answer in order.ended:
            self._answers.pop(answer, None)
        for answer, db_id, max_new_tokens in order.begun:
            self._answers[answer] = self._guides.of(db_id)(max_new_tokens)
        reply = Reply(accepted=[])
        for place, (answer, redrawn, tokens) in enumerate(order.checks):
            guide = self._answers[answer]
            accepted = guide.check(tokens, redrawn=redrawn)()
            reply.accepted.append(accepted)
            if accepted < len(tokens) and guide.left and not guide.ended:
                reply.masks[place] = guide.allowed()
        return reply
