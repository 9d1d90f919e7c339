"""gm.text.Sampler with a batch of prompts and a cache that is just large enough."""

from typing import Any

from benchmarks.engines import endless, protocol
from t2sql.model import factory as factory_lib
from t2sql.model.light_gemma import gm

_BUCKETS = (128, 256, 384, 512, 640, 768, 1024, 1536, 2048)


def load(work: dict[str, Any]) -> protocol.Answer:
    config = factory_lib.config_for("gemma3_270m", work["weights"], dtype=work["dtype"])
    modules = factory_lib.LLMModuleFactory(config).build()

    def answer(request: protocol.Request) -> tuple[list[str], list[int]]:
        texts: list[str] = []
        for first in range(0, len(request.prompts), work["batch_size"]):
            batch = slice(first, first + work["batch_size"])
            sampler = make_sampler(modules, request, request.prompts[batch])
            texts += sampler.sample(
                request.prompts[batch], max_new_tokens=max(request.limits[batch])
            )
        return texts, [len(modules.tokenizer.encode(text)) for text in texts]

    return answer


def make_sampler(modules, request: protocol.Request, prompts: list[str] | None):
    """A sampler, its cache cut to `prompts`; None for the library's defaults."""
    tokenizer = endless.Endless(modules.tokenizer) if request.forced else modules.tokenizer
    stops = {} if request.forced else {"stop_tokens": request.stop_ids}
    if prompts is not None:
        longest = max(len(modules.tokenizer.encode(text, add_bos=True)) for text in prompts)
        bucket = next(size for size in _BUCKETS if size >= longest)
        slots = -(-(bucket + max(request.limits)) // 64) * 64
        stops |= {"cache_length": slots, "pad_length": (bucket,)}
    return gm.text.Sampler(model=modules.model, params=modules.params, tokenizer=tokenizer, **stops)


if __name__ == "__main__":
    protocol.serve(load)
