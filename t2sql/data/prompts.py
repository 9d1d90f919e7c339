"""The prompts: the one place where a schema and a question become text.

`zero_shot` is the prompt of the article that this project follows, word for word.
`completion` and `few_shot` are for pre-trained weights, which go on with a text
instead of answering an instruction. `compact` is for weights that were tuned with it: a
short schema text, and the values of the database that the question names.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

from t2sql import errors
from t2sql.data.examples import Example

# Text that Gemma's tokenizer reads as one control token. In a question or a schema it would
# end or forge a turn.
_CONTROL = re.compile(
    r"<(?=(?:pad|eos|bos|unk|mask|2mass|/s|s"
    r"|start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token"
    r"|unused\d+)>)"
    r"|\[(?=(?:multimodal|@BOS@)\])"
)

# Before what one has to know beside the question, such as BIRD's evidence.
_HINT = "Hint: "


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """A way to ask.

    Attributes:
      name: as in the config.
      variant: the weights it suits: "it" (instruction-tuned) or "pt" (pre-trained).
      write: schema, question -> prompt; neither holds control tokens.
      answer_prefix: the beginning of the answer, where the prompt ends with it.
      stop: strings that end the answer.
      compact: whether it wants examples with the compact schema text.
    """

    name: str
    variant: str
    write: Callable[[str, str], str]
    answer_prefix: str = ""
    stop: tuple[str, ...] = ()
    compact: bool = False

    def text(self, example: Example) -> str:
        """The prompt for an example; its question and schema cannot change its structure."""
        question = _compact_question(example) if self.compact else _with_hint(example)
        return self.write(without_control(example.db_definitions), without_control(question))

    def sql_text(self, answer: str) -> str:
        """The answer with the part of it that ends the prompt."""
        return self.answer_prefix + answer

    @property
    def digest(self) -> str:
        """sha256 of everything that the prompt adds to a schema and a question."""
        parts = (self.write("{schema}", "{question}"), self.answer_prefix, *self.stop)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def make_prompt(name: str, shots: Sequence[Example] = ()) -> Prompt:
    """The prompt called `name`; `shots` are the solved examples of `few_shot`.

    Raises:
      InputError: there is no such prompt, or `few_shot` has no solved example.
    """
    if name == "zero_shot":
        return Prompt(name=name, variant="it", write=_zero_shot)
    if name == "completion":
        return _completion_prompt(name, _completion)
    if name == "compact":
        return dataclasses.replace(_completion_prompt(name, _compact), compact=True)
    if name == "few_shot":
        solved = [shot for shot in shots if shot.query]
        if not solved:
            raise errors.InputError(
                "--config.prompt is few_shot, but --config.shots names no example that has a query"
            )
        shown = _show(solved)
        return _completion_prompt(
            name, lambda schema, question: shown + _completion(schema, question)
        )
    raise errors.InputError(
        f"--config.prompt is {name!r}; it has to be zero_shot, completion, few_shot or compact"
    )


def variant_warning(prompt: Prompt, variant: str | None) -> str | None:
    """What to tell a user whose prompt does not suit the weights; None if it does."""
    if variant is None or variant == prompt.variant:
        return None
    if variant == "pt":
        return (
            f"prompt {prompt.name!r} is an instruction, but these weights are pre-trained and "
            "tend to echo it; --config.prompt=completion or few_shot suits them"
        )
    return (
        f"prompt {prompt.name!r} is a text to go on with, but these weights are "
        "instruction-tuned; --config.prompt=zero_shot suits them"
    )


def tuning_warning(prompt: Prompt, tuned_with: Mapping[str, str]) -> str | None:
    """What to tell a user whose adapter was trained with another prompt; None if it was not.

    Args:
      prompt: of the run.
      tuned_with: {"name", "sha256"} of the prompt of the training.
    """
    if tuned_with["sha256"] == prompt.digest:
        return None
    if tuned_with["name"] == prompt.name:
        return f"prompt {prompt.name!r} has changed since the adapter was trained with it"
    return (
        f"the adapter was trained with prompt {tuned_with['name']!r}, and this run uses "
        f"{prompt.name!r}: set --config.prompt={tuned_with['name']}"
    )


def without_control(text: str) -> str:
    """Puts a space into every control token, so that it is read as plain text."""
    return _CONTROL.sub(lambda match: match.group() + " ", text)


def _zero_shot(schema: str, question: str) -> str:
    return f"""<start_of_turn>user
Based on this database schema:
{schema}
Write a SQL query to answer this question. Output ONLY the SQL query, nothing else.
Question: {question}<end_of_turn>
<start_of_turn>model
"""


def _completion_prompt(name: str, write: Callable[[str, str], str]) -> Prompt:
    return Prompt(
        name=name, variant="pt", write=write, answer_prefix="SELECT", stop=(";", "\n\n", "\n--")
    )


def _completion(schema: str, question: str) -> str:
    return f"{schema}\n\n{_question(question)}\nSELECT"


def _question(question: str) -> str:
    return f"-- Question: {' '.join(question.split())}"


def _compact(schema: str, question: str) -> str:
    return f"{schema}\n\n-- {question}\nSELECT"


def _with_hint(example: Example) -> str:
    return f"{example.question}\n{_HINT}{example.hint}" if example.hint else example.question


def _compact_question(example: Example) -> str:
    """A line each: the question, its hint, and the values of the database that it names."""
    lines = (example.question, example.hint and f"{_HINT}{example.hint}")
    one_line_each = [" ".join(line.split()) for line in lines]
    return "\n-- ".join(filter(None, (*one_line_each, "; ".join(example.values))))


def _show(shots: Sequence[Example]) -> str:
    """The solved examples, each schema once, ahead of the schema that is asked about."""
    parts = []
    schema = None
    for shot in shots:
        if shot.db_definitions != schema:
            schema = shot.db_definitions
            parts.append(schema)
        parts.append(f"{_question(_with_hint(shot))}\n{shot.query.strip().rstrip(';')};")
    return "\n\n".join(map(without_control, parts)) + "\n\n"
