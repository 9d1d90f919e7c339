"""Batch sampling: groups of prompts in, answers out, on the host's own devices.

Prompts come in groups that share a prefix (one schema, many questions). The prefix is prefilled
once. The slots of the batch are kept busy: as answers finish, prompts of their group or of the next
one take their place.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from t2sql import config as config_lib
from t2sql import errors
from t2sql.config import SamplingConfig
from t2sql.model.mesh import DATA_AXIS, MODEL_AXIS
from t2sql.sampling import beam_scheduler, constrained, decode_kernel, prompt_groups, scheduler
from t2sql.sampling import decode as decode_lib
from t2sql.sampling import programs as programs_lib
from t2sql.sampling import stops as stops_lib
from t2sql.sampling import weights as weights_lib


class BatchSampler:
    """Samples from a Gemma model in padded batches of static shape.

    Args:
      model: gemma's transformer.
      params: its parameters, on `mesh`; or their shapes, dtypes and shardings, to compile
        while the weights are read: then `set_params` before `generate`.
      tokenizer: gemma's tokenizer for it.
      mesh: devices of this host, with a data and a model axis; default: the devices that the
        parameters lie on, each with a copy of all, as gemma's loader leaves them.
      config: what decides the text; default: `SamplingConfig()`.
      batch_size: prompts decoded at a time, a multiple of the size of the data axis.
      prompt_buckets: lengths that a prefix and a prompt's own part are padded to, ascending; the
        last one is the longest prompt.
      prefill_tokens: prompt tokens prefilled at a time.
      pace: how far constrained decoding runs ahead; default: `constrained.pace` of the platform.
      make_compiler: builds the programs; what it builds is all that touches the model.

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
        config: SamplingConfig | None = None,
        batch_size: int = 32,
        prompt_buckets: Sequence[int] = prompt_groups.PROMPT_BUCKETS,
        prefill_tokens: int = 1024,
        pace: constrained.Pace | None = None,
        make_compiler: Callable[..., programs_lib.Compiler] = programs_lib.Compiler,
    ):
        mesh = mesh or _mesh_of(params)
        config = config or SamplingConfig()
        check(config, batch_size=batch_size, prompt_buckets=prompt_buckets, mesh=mesh)
        self.tokenizer = tokenizer
        self.config = config
        self.batch_size = batch_size
        self.prompt_buckets = tuple(prompt_buckets)
        self.counters = scheduler.Counters()
        self._stops = stops_lib.Stops(tokenizer, config.stop)
        vocab_size = model.config.num_embed
        self._forbidden = tuple(t for t in self._stops.forbidden if t < vocab_size)
        free = constrained.Pace(steps=scheduler.STEPS_PER_SYNC, blocks_in_flight=1)
        if config.constrain:
            pace = pace or constrained.pace(mesh.devices.flat[0].platform)
        self._pace = pace if config.constrain else free
        self.compiler = make_compiler(
            decode_lib.Decoder(
                model=model,
                steps=self._pace.steps,
                tail_rows=tail_rows(batch_size, mesh),
                config=config,
                forbidden=self._forbidden,
                kernel="" if config.beams else decode_kernel.choose(mesh, model, batch_size),
            ),
            weights_lib.arrange(params),
            mesh=mesh,
            batch_size=batch_size,
            new_tokens=config.max_new_tokens,
            prompt_buckets=self.prompt_buckets,
            prefill_tokens=prefill_tokens,
        )
        self._ends = self._stops.table(vocab_size)
        self._last_tokens = self._stops.last_tokens(vocab_size)

    def set_params(self, params: Any) -> None:
        """Gives it the model's parameters, where it was made with their shapes.

        It takes them: the arrays that it keeps in another form are deleted.
        """
        self.compiler.params = weights_lib.arrange(params, take=True)

    @property
    def compile_count(self) -> int:
        return self.compiler.count

    @property
    def compile_seconds(self) -> float:
        return self.compiler.seconds

    def fits(self, prompt_tokens: int) -> bool:
        """Whether a prompt of this length can be sampled from at all."""
        return 0 < prompt_tokens <= self.prompt_buckets[-1]

    def compile(self, groups: Iterable[prompt_groups.PromptGroup]) -> None:
        """Compiles ahead for groups, in the order that `generate` is given: it compiles no more."""
        self.compiler.compile(groups)

    def generate(
        self,
        groups: Iterable[prompt_groups.PromptGroup],
        *,
        on_finished: Callable[[stops_lib.Generation], None] = lambda generation: None,
        on_step: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[prompt_groups.PromptGroup, list[stops_lib.Generation]]]:
        """Yields each group with its answers, in the order of its prompts.

        Groups come out as they finish, which need not be the order they came in. The cache
        grows as longer prompts come: `in_order` sorts groups so that it grows late.

        Args:
          groups: any number of groups; read one at a time, only when slots are free.
          on_finished: called with each answer as it finishes.
          on_step: called with every block of steps; what it raises ends the sampling.

        Raises:
          ValueError: a prompt does not fit; see `fits`.
        """
        batch: scheduler.Scheduler | None = None
        for group in groups:
            if not group.answerable:
                yield group, scheduler.first_answers(group, on_finished)
                continue
            batch = batch or self._make_scheduler(
                self.compiler,
                self.compiler.shape_of(group),
                self._stops,
                self._ends,
                self._last_tokens,
                self.counters,
                on_finished,
                on_step,
                blocks_in_flight=self._pace.blocks_in_flight,
            )
            yield from batch.add_group(group)
        if batch is not None:
            yield from batch.run_until_done()

    @property
    def _make_scheduler(self) -> Callable[..., scheduler.Scheduler]:
        if not self.config.beams:
            return scheduler.Scheduler
        return functools.partial(
            beam_scheduler.BeamScheduler, config=self.config, forbidden=self._forbidden
        )

    def sample(
        self, prompt: str | Sequence[str], *, max_new_tokens: int | None = None
    ) -> str | list[str]:
        """Answers one prompt, or several: the article's `sampler.sample`.

        Args:
          prompt: one or several; each begins a text of its own.
          max_new_tokens: tokens of the longest answer; None for the config's, which it may not
            exceed.

        Raises:
          InputError: a prompt is empty or longer than the largest bucket, or the answers.
        """
        if isinstance(prompt, str):
            return self.sample([prompt], max_new_tokens=max_new_tokens)[0]
        limit = self.config.max_new_tokens if max_new_tokens is None else max_new_tokens
        if not 1 <= limit <= self.config.max_new_tokens:
            raise errors.InputError(
                f"max_new_tokens is {limit}; it has to be from 1 to the config's, which is"
                f" {self.config.max_new_tokens}"
            )
        tokens = [self.tokenizer.encode(text, add_bos=True) for text in prompt]
        for index, ids in enumerate(tokens):
            if not self.fits(len(ids)):
                raise errors.InputError(
                    f"prompt {index} has {len(ids)} tokens; at most "
                    f"{self.prompt_buckets[-1]} fit (prompt_buckets)"
                )
        texts: dict[int, str] = {}
        for group, generations in self.generate(self._by_length(tokens, prompt, limit)):
            texts |= {
                index: generation.text
                for index, generation in zip(group.tag, generations, strict=True)
            }
        return [texts[index] for index in range(len(prompt))]

    def _by_length(
        self, tokens: Sequence[Sequence[int]], prompts: Sequence[str], limit: int
    ) -> Iterator[prompt_groups.PromptGroup]:
        """A group for each bucket, tagged with the prompts' indices: short ones need no padding."""
        by_bucket: dict[int, list[int]] = {}
        for index, ids in enumerate(tokens):
            length = prompt_groups.bucket(len(ids), self.prompt_buckets)
            by_bucket.setdefault(length, []).append(index)
        for _, indices in sorted(by_bucket.items()):
            yield prompt_groups.group_prompts(
                [tokens[index] for index in indices],
                [prompts[index] for index in indices],
                limits=[limit] * len(indices),
                tag=indices,
            )


def tail_rows(batch_size: int, mesh: jax.sharding.Mesh) -> int:
    """CPU only: batch size of the tail program, for when few answers are still going; 0 for none.

    There a step of 8 rows takes 40 % of one of 32. Elsewhere a step's time hardly depends on the
    rows, and rows on several devices would have to move.
    """
    (platform,) = {device.platform for device in mesh.devices.flat}
    return batch_size // 4 if platform == "cpu" and mesh.shape[DATA_AXIS] == 1 else 0


def _mesh_of(params: Any) -> jax.sharding.Mesh:
    """Where no mesh is given: the devices that hold a copy of the parameters."""
    shardings = [getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(params)]
    if not all(sharding is None or sharding.is_fully_replicated for sharding in shardings):
        raise errors.InputError(
            "the parameters are split over devices: give BatchSampler the mesh that they are split"
            " over, with the axes 'data' and 'model' (t2sql.model.mesh)"
        )
    devices = shardings[0].device_set if shardings[0] else jax.local_devices()[:1]
    return jax.sharding.Mesh(
        np.array(sorted(devices, key=lambda device: device.id)).reshape(-1, 1),
        (DATA_AXIS, MODEL_AXIS),
    )


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
    devices = mesh.shape[DATA_AXIS]
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
        "samples": (config.samples >= 1, "at least 1"),
        "beams": (
            config.beams == 0 or (config.beams >= 1 and config.samples == 1),
            "0, or at least 1 with sampling.samples at 1",
        ),
        "length_penalty": (0 <= config.length_penalty < math.inf, "at least 0, and finite"),
        "choose": (
            not config.choose or (config.choose == "vote" and config.samples > 1),
            "empty, or 'vote' with sampling.samples above 1",
        ),
    }
    config_lib.check_rules(rules, vars(config), "sampling.")
    if config.beams and config.temperature:
        raise errors.InputError(
            f"--config.sampling.temperature is {config.temperature}; it has to be 0 with"
            " sampling.beams, which looks for the likeliest answers and draws none"
        )
    if config.samples > 1 and config.temperature == 0:
        raise errors.InputError(
            f"--config.sampling.samples is {config.samples}, and temperature 0 would draw one "
            "answer as often; set --config.sampling.temperature above 0, such as 0.8 (the first "
            "answer is greedy anyway)"
        )
