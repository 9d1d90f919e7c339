"""The same answers on one device and on eight, over `data` and over `model`.

Eight virtual CPU devices have to be asked for before JAX starts, hence a process of its own.
"""

import json
import os
import pathlib
import subprocess
import sys

_PROGRAM = """
import dataclasses, json, sys
import guides
import jax
import tiny
from t2sql import errors

params = tiny.make_params()
prompts = [*tiny.texts(6), *tiny.texts(14, shared="CREATE TABLE singer (name text); ")]
group = dataclasses.replace(tiny.group(prompts[6:]), guide=lambda limit: guides.Arbitrary())
answers = {}
for data, model in ((1, 1), (8, 1), (4, 2)):
    mesh = tiny.make_mesh(data, model)
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    # Without a mesh, the devices are those of the parameters.
    given = None if (data, model) == (8, 1) else mesh
    sampler = tiny.make_sampler(jax.device_put(params, everywhere), mesh=given, batch_size=8)
    answers[f"{data}x{model}"] = sampler.sample(prompts)
    if (data, model) != (8, 1):
        sampler = tiny.make_sampler(
            jax.device_put(params, everywhere), mesh=mesh, batch_size=8, constrain="keys"
        )
        texts = [generation.text for generation in tiny.generate(sampler, [group]).values()]
        answers[f"{data}x{model}, constrained"] = texts
        assert sampler.counters.refused_tokens
        sampler = tiny.make_sampler(
            jax.device_put(params, everywhere), mesh=mesh, batch_size=8, constrain="keys", beams=2
        )
        answers[f"{data}x{model}, beams"] = [
            answer.text
            for first in tiny.generate(sampler, [group]).values()
            for answer in (first, *first.others)
        ]
try:
    tiny.make_sampler(params, mesh=tiny.make_mesh(8, 1), batch_size=12)
except errors.InputError as error:
    answers["refused"] = str(error)
json.dump(answers, sys.stdout)
"""


def test_answers_do_not_depend_on_the_devices():
    environ = os.environ | {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # 27 programs; those of a pod are compared in full
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["8x1"] == answers["1x1"]
    assert answers["4x2"] == answers["1x1"]
    assert answers["4x2, constrained"] == answers["1x1, constrained"]
    assert answers["4x2, beams"] == answers["1x1, beams"]
    assert "batch_size is 12" in answers["refused"]
    assert "8 devices" in answers["refused"]
