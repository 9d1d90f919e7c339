"""A database and its questions as token ids, as they stand in the prompts at inference."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from t2sql import errors
from t2sql.data.compact import CompactDatabase
from t2sql.data.database import database_path
from t2sql.data.dataset import DataFolder
from t2sql.data.examples import Example
from t2sql.data.prompts import Prompt
from t2sql.data.read_schema import schema_from_sqlite
from t2sql.sampling.prompt_groups import shared_length
from t2sql.sql.tokens import tokenize
from t2sql.training import packing
from t2sql.training.gold_sql import normal_sql


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenisedSchema:
    """A database's questions, split where their prompts begin to differ.

    Attributes:
      prefix: tokens that all prompts begin with: the schema.
      questions: what follows it. Questions that do not fit a sequence are left out.
      example: the first question's; other prompts are written from it.
      database: writes the schema in another order; None where the prompt is not a compact one.
      needed: words of the gold queries, in lower case: what a schema cannot leave out.
    """

    prefix: tuple[int, ...]
    questions: tuple[packing.Question, ...]
    example: Example | None
    database: CompactDatabase | None
    needed: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SchemaTokeniser:
    """Tokenises databases with their questions.

    Attributes:
      folder: of the data.
      prompt: as at inference.
      tokenizer: gemma's.
      capacity: of a sequence.
    """

    folder: DataFolder
    prompt: Prompt
    tokenizer: Any
    capacity: packing.Capacity

    def tokenise(self, examples: Sequence[Example]) -> TokenisedSchema:
        """Tokenises the examples of one database.

        Raises:
          InputError: a gold query does not begin as the prompt's answers do.
        """
        path = database_path(self.folder, examples[0].db_id)
        schema = schema_from_sqlite(path)
        prompts = [self._encode_prompt(example) for example in examples]
        shared = shared_length(prompts)
        prefix = prompts[0][:shared]
        questions = [
            packing.Question(
                example_id=example.example_id,
                prompt=prompt[shared:],
                answer=self._encode_answer(example.example_id, normal_sql(example.query, schema)),
            )
            for example, prompt in zip(examples, prompts, strict=True)
        ]
        fits = [self._fits(prefix, question) for question in questions]
        return TokenisedSchema(
            prefix=prefix,
            questions=tuple(itertools.compress(questions, fits)),
            example=next(itertools.compress(examples, fits), None),
            database=CompactDatabase(path) if self.prompt.compact else None,
            needed=frozenset(
                token.text.strip('"`[]').casefold()
                for example in examples
                for token in tokenize(example.query)
            ),
        )

    def shuffle(self, schema: TokenisedSchema, rng: np.random.Generator) -> TokenisedSchema:
        """The schema with its tables, and the columns of each, in another order.

        It comes back as it is where the prompt is not a compact one, and in the rare case that
        the questions' tokens would change or one of them would no longer fit.
        """
        if schema.database is None:
            return schema
        return self._with_text(schema, schema.database.shuffled_text(rng.permutation))

    def thin(self, schema: TokenisedSchema, rng: np.random.Generator) -> TokenisedSchema:
        """The schema without some of the tables and columns that no question needs.

        It comes back as it is where `shuffle` would leave it.
        """
        if schema.database is None:
            return schema
        database = schema.database.thinned(schema.needed, lambda: rng.random() < 0.5)
        thinned = self._with_text(schema, database.text)
        return schema if thinned is schema else dataclasses.replace(thinned, database=database)

    def _with_text(self, schema: TokenisedSchema, text: str) -> TokenisedSchema:
        """The schema as another text; as it was where its questions do not go with that."""
        prompt = self._encode_prompt(dataclasses.replace(schema.example, db_definitions=text))
        suffix = schema.questions[0].prompt
        prefix = prompt[: -len(suffix)]
        fits = all(self._fits(prefix, question) for question in schema.questions)
        if not fits or prompt[-len(suffix) :] != suffix:
            return schema
        return dataclasses.replace(schema, prefix=prefix)

    def _encode_prompt(self, example: Example) -> tuple[int, ...]:
        # int: gemma's special tokens are enums, and the text of an enum, which the digest of the
        # data would hold, may change between versions.
        return tuple(map(int, self.tokenizer.encode(self.prompt.text(example), add_bos=True)))

    def _encode_answer(self, example_id: str, sql: str) -> tuple[int, ...]:
        if not sql.startswith(self.prompt.answer_prefix):
            raise errors.InputError(
                f"{example_id}: the query has to begin with {self.prompt.answer_prefix}, "
                f"as the prompt {self.prompt.name!r} says; found: {sql[:60]!r}"
            )
        answer = sql.removeprefix(self.prompt.answer_prefix)
        return tuple(map(int, self.tokenizer.encode(answer, add_eos=True)))

    def _fits(self, prefix: tuple[int, ...], question: packing.Question) -> bool:
        return self.capacity.holds([packing.Group(prefix=prefix, questions=(question,))])
