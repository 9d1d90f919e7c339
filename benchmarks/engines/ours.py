"""t2sql's sampler, prompts grouped by schema as the job groups them."""

import itertools
from typing import Any

from benchmarks.engines import endless, protocol
from t2sql import sampling
from t2sql.model import factory as factory_lib


def load(work: dict[str, Any]) -> protocol.Answer:
    config = factory_lib.config_for("gemma3_270m", work["weights"], dtype=work["dtype"])
    modules = factory_lib.LLMModuleFactory(config).build()
    samplers: dict[bool, sampling.BatchSampler] = {}

    def answer(request: protocol.Request) -> tuple[list[str], list[int]]:
        if request.forced not in samplers:
            samplers[request.forced] = _sampler(modules, request, work["batch_size"])
        sampler = samplers[request.forced]
        answers: dict[int, sampling.Generation] = {}
        for group, generations in sampler.generate(_groups(sampler.tokenizer, request)):
            answers |= dict(zip(group.tag, generations, strict=True))
        in_order = [answers[index] for index in range(len(request.prompts))]
        texts = [generation.text for generation in in_order]
        return texts, [len(generation.tokens) for generation in in_order]

    return answer


def _sampler(modules, request: protocol.Request, batch_size: int) -> sampling.BatchSampler:
    tokenizer, stop = modules.tokenizer, tuple(request.stop_strings)
    if request.forced:
        tokenizer, stop = endless.Endless(tokenizer), ()
    return sampling.BatchSampler(
        model=modules.model,
        params=modules.params,
        tokenizer=tokenizer,
        mesh=modules.mesh,
        config=sampling.SamplingConfig(max_new_tokens=max(request.limits), stop=stop),
        batch_size=batch_size,
    )


def _groups(tokenizer, request: protocol.Request) -> list[sampling.PromptGroup]:
    """One group for each schema."""
    groups = []
    prompts = range(len(request.prompts))
    for _, of_schema in itertools.groupby(prompts, key=lambda index: request.db_ids[index]):
        tag = list(of_schema)
        groups.append(
            sampling.group_prompts(
                [tokenizer.encode(request.prompts[index], add_bos=True) for index in tag],
                [str(index) for index in tag],
                limits=[request.limits[index] for index in tag],
                tag=tag,
            )
        )
    return sampling.in_order(groups)


if __name__ == "__main__":
    protocol.serve(load)
