"""transformers with PEFT on torch, float32: the other side of benchmarks/interchange.py.

One JSON object on stdin, one on stdout. Runs in the peers' environment, which has nothing of ours.
"""

import json
import os
import sys
from typing import Any

import peft
import torch
import transformers


def answer(model: Any, tokenizer: Any, request: dict[str, Any]) -> list[list[int]]:
    """Greedy token ids after each prompt, one at a time."""
    answers = []
    for prompt in request["prompts"]:
        batch = tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(
                **batch,
                do_sample=False,
                max_new_tokens=request["limit"],
                eos_token_id=request["stop_ids"],
                pad_token_id=0,
            )
        answers.append(tokens[0, batch["input_ids"].shape[1] :].tolist())
    return answers


def load(folder: str) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def compare_texts(request: dict[str, Any]) -> dict[str, Any]:
    """What the exported base with the exported adapter answers, and what the merged weights do."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(request["base"])
    adapted = peft.PeftModel.from_pretrained(load(request["base"]), request["adapter"]).eval()
    return {
        "prompt_ids": [tokenizer(prompt)["input_ids"] for prompt in request["prompts"]],
        "adapter": answer(adapted, tokenizer, request),
        "merged": answer(load(request["merged"]), tokenizer, request),
    }


def make_adapters(request: dict[str, Any]) -> dict[str, Any]:
    """Adapters that PEFT makes, with random factors, and the logits that it computes with each."""
    logits = {}
    tokens = torch.tensor([request["tokens"]])
    for name, fields in request["configs"].items():
        base = load(request["base"])
        if name == "none":
            model = base
        else:
            model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **fields))
            generator = torch.Generator().manual_seed(0)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    values = torch.randn(parameter.shape, generator=generator) / 4
                    parameter.data.copy_(values)
        model.save_pretrained(f"{request['output']}/{name}")
        with torch.inference_mode():
            logits[name] = model.eval()(tokens).logits[0].tolist()
    return {"logits": logits}


def make_models(request: dict[str, Any]) -> dict[str, Any]:
    """Small random models as the larger sizes are, and the logits that they compute.

    Positions of global layers are scaled, in "multimodal" beside a model for images.
    """
    text = transformers.Gemma3TextConfig.from_pretrained(request["base"]).to_dict()
    text["rope_parameters"]["full_attention"] |= {"rope_type": "linear", "factor": 8.0}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    whole = transformers.Gemma3Config(
        text_config=text | {"vocab_size": text["vocab_size"] + 64},
        vision_config=vision,
        mm_tokens_per_image=4,
    )
    made = {
        "scaled": transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**text)),
        "multimodal": transformers.Gemma3ForConditionalGeneration(whole),
    }
    logits = {}
    generator = torch.Generator().manual_seed(0)
    for name, model in made.items():
        for parameter in model.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 5)
        model.save_pretrained(f"{request['output']}/{name}")
        with torch.inference_mode():
            values = model.eval()(torch.tensor([request["tokens"]])).logits[0]
        logits[name] = values[:, : text["vocab_size"]].tolist()
    return {"logits": logits}


if __name__ == "__main__":
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no reply
    asked = json.load(sys.stdin)
    tasks = {"texts": compare_texts, "adapters": make_adapters, "models": make_models}
    json.dump(tasks[asked["task"]](asked), replies)
