"""Hugging Face transformers on torch, float32, batches padded on the left."""

import pathlib
from typing import Any

import protocol
import torch
import transformers


def load(work: dict[str, Any]) -> protocol.Answer:
    file = pathlib.Path(work["gguf"])
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**source, padding_side="left")
    model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    model.eval()

    def answer(request: protocol.Request) -> tuple[list[str], list[int]]:
        texts: list[str] = []
        tokens: list[int] = []
        for first in range(0, len(request.prompts), work["batch_size"]):
            part = slice(first, first + work["batch_size"])
            batch = tokenizer(request.prompts[part], return_tensors="pt", padding=True)
            limit = max(request.limits[part])
            ends = [] if request.forced else request.stop_ids
            with torch.inference_mode():
                tokens = model.generate(
                    **batch,
                    do_sample=False,
                    max_new_tokens=limit,
                    min_new_tokens=limit if request.forced else None,
                    eos_token_id=ends or None,
                    pad_token_id=0,
                )
            for row in tokens[:, batch["input_ids"].shape[1] :].tolist():
                length = next((i for i, token in enumerate(row) if token in ends), len(row))
                texts.append(tokenizer.decode(row[:length], clean_up_tokenization_spaces=False))
                tokens.append(length)
        return texts, tokens

    return answer


if __name__ == "__main__":
    protocol.serve(load)
