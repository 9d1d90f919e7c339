"""gm.text.Sampler as the article uses it: one prompt at a time, its defaults."""

from typing import Any

from benchmarks.engines import gemma_batched, protocol
from t2sql.model import factory as factory_lib


def load(work: dict[str, Any]) -> protocol.Answer:
    config = factory_lib.config_for("gemma3_270m", work["weights"], dtype=work["dtype"])
    modules = factory_lib.LLMModuleFactory(config).build()

    def answer(request: protocol.Request) -> tuple[list[str], list[int]]:
        sampler = gemma_batched.make_sampler(modules, request, None)
        texts = [
            sampler.sample(prompt, max_new_tokens=limit)
            for prompt, limit in zip(request.prompts, request.limits, strict=True)
        ]
        return texts, [len(modules.tokenizer.encode(text)) for text in texts]

    return answer


if __name__ == "__main__":
    protocol.serve(load)
