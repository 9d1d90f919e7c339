"""llama-cpp-python, one prompt at a time; it keeps what two prompts in a row share."""

from typing import Any

import llama_cpp
import protocol


def load(work: dict[str, Any]) -> protocol.Answer:
    model = llama_cpp.Llama(
        work["gguf"], n_ctx=2304, n_threads=work["threads"], verbose=False, logits_all=False
    )

    def answer(request: protocol.Request) -> tuple[list[str], list[int]]:
        answers = [
            _answer(model, prompt, limit, request)
            for prompt, limit in zip(request.prompts, request.limits, strict=True)
        ]
        return [text for text, _ in answers], [count for _, count in answers]

    return answer


def _answer(model, prompt: str, limit: int, request: protocol.Request) -> tuple[str, int]:
    tokens: list[int] = []
    ends = set() if request.forced else set(request.stop_ids)
    for token in model.generate(
        model.tokenize(prompt.encode(), add_bos=True, special=True), temp=0.0, repeat_penalty=1.0
    ):
        if token in ends:
            break
        tokens.append(token)
        if len(tokens) == limit:
            break
    return model.detokenize(tokens).decode(errors="replace"), len(tokens)


if __name__ == "__main__":
    protocol.serve(load)
