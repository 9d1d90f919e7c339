"""Batch sampling: groups of prompts in, answers out, on the host's own devices.

Prompts come in groups that share a prefix (one schema, many questions). The prefix
is prefilled once. The rows of the batch are kept busy: as rows finish, prompts of
the same group, or of the next one, take their place.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from t2sql import config as config_lib
from t2sql import errors
from t2sql.sampling import constrained, next_token, prompt_groups, scheduler
from t2sql.sampling import decode as decode_lib
from t2sql.sampling import programs as programs_lib
from t2sql.sampling import stops as stops_lib
from t2sql.sampling import weights as weights_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What decides the text. Two runs with equal values write equal answers.

    Attributes:
      max_new_tokens: tokens of the longest answer.
      temperature: 0 is greedy.
      top_k: keep the k most likely tokens; 0 keeps all.
      top_p: keep the nucleus of this probability; 1 keeps all.
      seed: with an example's id, the key of its draws.
      stop: strings that end an answer.
      constrain: "schema" and "keys" have every group's guide decide what its answers may be;
        the sampler itself only knows that there is a guide.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    constrain: str = ""


class BatchSampler:
    """Samples from a Gemma model in padded batches of static shape.

    Args:
      model: gemma's transformer.
      params: its parameters, on `mesh`; or their shapes, dtypes and shardings, to compile
        while the weights are read: then `set_params` before `generate`.
      tokenizer: gemma's tokenizer for it.
      mesh: devices of this host, axes `data` and `model`; default: the first device.
      config: what decides the text.
      batch_size: prompts decoded at a time, a multiple of the size of `data`.
      prompt_buckets: lengths that a prefix and a prompt's own part are padded to, ascending; the
        last one is the longest prompt.
      prefill_tokens: prompt tokens prefilled at a time.

    Raises:
      InputError: batch size and devices, or the values of `config`, do not fit.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        params: Any,
        tokenizer: Any,
        mesh: jax.sharding.Mesh | None = None,
        config: SamplingConfig = SamplingConfig(),
        batch_size: int = 32,
        prompt_buckets: Sequence[int] = prompt_groups.PROMPT_BUCKETS,
        prefill_tokens: int = 1024,
    ):
        mesh = mesh or _single_device_mesh()
        check(config, batch_size=batch_size, prompt_buckets=prompt_buckets, mesh=mesh)
        self.tokenizer = tokenizer
        self.config = config
        self.batch_size = batch_size
        self.prompt_buckets = tuple(prompt_buckets)
        self.counters = scheduler.Counters()
        self._stops = stops_lib.Stops(tokenizer, config.stop)
        vocab_size = model.config.num_embed
        compiler = constrained.GuidedCompiler if config.constrain else programs_lib.Compiler
        self._lane = constrained.GuidedLane if config.constrain else scheduler.Lane
        self._compiler = compiler(
            decode_lib.Decoder(
                model=model,
                few=few_rows(batch_size, mesh),
                choice=next_token.Choice(
                    temperature=config.temperature, top_k=config.top_k, top_p=config.top_p
                ),
                seed=config.seed,
                forbidden=tuple(t for t in self._stops.forbidden if t < vocab_size),
            ),
            weights_lib.arrange(params),
            mesh=mesh,
            rows=batch_size,
            new_tokens=config.max_new_tokens,
            prompt_buckets=self.prompt_buckets,
            prefill_tokens=prefill_tokens,
        )
        self._ends = jax.device_put(self._stops.table(vocab_size), self._compiler.replicated)

    def set_params(self, params: Any) -> None:
        """Gives it the model's parameters, where it was made with their shapes.

        Those that it keeps in another form are deleted: it takes them.
        """
        self._compiler.params = weights_lib.arrange(params, take=True)

    @property
    def compile_count(self) -> int:
        return self._compiler.count

    @property
    def compile_seconds(self) -> float:
        return self._compiler.seconds

    def fits(self, prompt_tokens: int) -> bool:
        """Whether a prompt of this length can be sampled from at all."""
        return 0 < prompt_tokens <= self.prompt_buckets[-1]

    def compile(self, groups: Iterable[prompt_groups.PromptGroup]) -> None:
        """Compiles ahead for groups, in the order that `generate` is given.

        It then compiles nothing.
        """
        self._compiler.compile(groups)

    def generate(
        self,
        groups: Iterable[prompt_groups.PromptGroup],
        *,
        on_finished: Callable[[stops_lib.Generation], None] = lambda generation: None,
        on_step: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[prompt_groups.PromptGroup, list[stops_lib.Generation]]]:
        """Yields each group with its answers, in the order of its prompts.

        Groups come out as they finish, which need not be the order they came in. The cache
        grows as longer prompts come: `in_order` puts groups so that it stays small long.

        Args:
          groups: any number of groups; read one at a time, only when rows are free.
          on_finished: called with each answer as its row finishes.
          on_step: called every few steps; what it raises ends the sampling.

        Raises:
          ValueError: a prompt does not fit; see `fits`.
        """
        lane: scheduler.Lane | None = None
        for group in groups:
            if not group.answerable:
                yield group, scheduler.first_answers(group, on_finished)
                continue
            lane = lane or self._lane(
                self._compiler,
                self._compiler.shape_of(group),
                self._stops,
                self._ends,
                self.counters,
                on_finished,
                on_step,
            )
            yield from lane.feed(group)
        if lane is not None:
            yield from lane.drain()

    def sample(self, prompt: str | Sequence[str]) -> str | list[str]:
        """Answers one prompt, or several: the article's `sampler.sample`.

        Raises:
          InputError: a prompt is empty or longer than the largest bucket.
        """
        if isinstance(prompt, str):
            return self.sample([prompt])[0]
        tokens = [self.tokenizer.encode(text, add_bos=True) for text in prompt]
        for index, ids in enumerate(tokens):
            if not self.fits(len(ids)):
                raise errors.InputError(
                    f"prompt {index} has {len(ids)} tokens; at most "
                    f"{self.prompt_buckets[-1]} fit (prompt_buckets)"
                )
        texts: dict[int, str] = {}
        for group, generations in self.generate(self._by_length(tokens, prompt)):
            texts |= {
                place: generation.text
                for place, generation in zip(group.tag, generations, strict=True)
            }
        return [texts[place] for place in range(len(prompt))]

    def _by_length(
        self, tokens: Sequence[Sequence[int]], prompts: Sequence[str]
    ) -> Iterator[prompt_groups.PromptGroup]:
        """Groups prompts of one bucket, tagged with their places: short ones need no padding."""
        places: dict[int, list[int]] = {}
        for place, ids in enumerate(tokens):
            size = prompt_groups.bucket(len(ids), self.prompt_buckets)
            places.setdefault(size, []).append(place)
        for _, some in sorted(places.items()):
            yield prompt_groups.group_prompts(
                [tokens[place] for place in some],
                [prompts[place] for place in some],
                tag=some,
            )


def few_rows(batch_size: int, mesh: jax.sharding.Mesh) -> int:
    """So few rows that a step for them alone is worth a program of its own.

    On one device of a CPU, where a step of 8 rows takes 40 % of one of 32. Elsewhere a step's
    time hardly depends on the rows, and rows on several devices would have to move.
    """
    (platform,) = {device.platform for device in mesh.devices.flat}
    return batch_size // 4 if platform == "cpu" and mesh.shape["data"] == 1 else 0


def _single_device_mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1), ("data", "model"))


def check(
    config: SamplingConfig,
    *,
    batch_size: int,
    prompt_buckets: Sequence[int],
    mesh: jax.sharding.Mesh,
) -> None:
    """Refuses values that cannot be sampled with.

    Raises:
      InputError: names the value and the rule.
    """
    devices = mesh.shape["data"]
    if batch_size < 1 or batch_size % devices:
        raise errors.InputError(
            f"--config.batch_size is {batch_size}; it has to be a positive multiple of the "
            f"{devices} devices on the mesh's data axis"
        )
    buckets = tuple(prompt_buckets)
    sizes = all(isinstance(bucket, int) and bucket >= 1 for bucket in buckets)
    if not (buckets and sizes and list(buckets) == sorted(set(buckets))):
        raise errors.InputError(
            f"--config.prompt_buckets is {buckets}; it has to be ascending sizes"
        )
    rules = {
        "max_new_tokens": (config.max_new_tokens >= 1, "at least 1"),
        "temperature": (0 <= config.temperature < math.inf, "at least 0, and finite"),
        "top_k": (config.top_k >= 0, "at least 0"),
        "top_p": (0 < config.top_p <= 1, "above 0 and at most 1"),
        # JAX keeps 32 bits of it: larger ones would repeat the texts of others.
        "seed": (0 <= config.seed < 2**32, "at least 0 and less than 2**32"),
        "constrain": (config.constrain in ("", "schema", "keys"), "empty, 'schema' or 'keys'"),
        "stop": (all(config.stop), "strings that are not empty"),
    }
    config_lib.check_rules(rules, vars(config), "sampling.")
