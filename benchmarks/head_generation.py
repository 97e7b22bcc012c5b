"""New tokens per second under head acts, beside the first study's loop, in one run.

    python benchmarks/head_generation.py --json benchmarks/results/NAME.json

- loop: plain `transformers` generation of one prompt under one head, with a hook on the input of the block's W_O that
  zeroes the head at every token but the first; one prompt and one head after the other, as the first study did it.
- emolib: `emolib.generate`, every prompt under every head in one call (`AblateHead`).

The loop runs the first rows alone (`--rows-of-loop`); its texts must equal those of emolib, and differ from unpatched
ones somewhere. Both generate greedily. The file is written anew after every repeat, so that what is cut off keeps what
it has (`complete` is then false). Architectures whose W_O is `self_attn.o_proj` (Llama, SmolLM2, Qwen3, Gemma 3).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from typing import Any

import torch
from measuring import described, run_main, seconds, table, write_json
from torch import nn

import emolib
from emolib.base.errors import UserError
from emolib.models.bundled import bundled_folder
from emolib.models.language_model import LanguageModel

TARGET = 5.0  # times the loop, at least


def plain_network(lm: LanguageModel, model: str) -> nn.Module:
    """The same weights in a model that nothing has wrapped."""
    from transformers import AutoModelForCausalLM

    folder = bundled_folder(lm.spec)[0] if lm.spec.bundled else model
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=lm.dtype).eval()
    if not hasattr(network.model.layers[0], "self_attn") or not hasattr(network.model.layers[0].self_attn, "o_proj"):
        raise UserError(f"expected a model whose blocks have self_attn.o_proj, {lm.spec.name} has none; choose another")
    return network


@torch.inference_mode()
def by_loop(
    lm: LanguageModel, network: nn.Module, rows: list[tuple[str, tuple[int, int]]], n_new: int
) -> list[tuple[int, ...]]:
    """Token ids of every row, one after the other."""
    found = []
    for prompt, (layer, head) in rows:
        own = slice(head * lm.d_head, (head + 1) * lm.d_head)

        def without(module: nn.Module, inputs: tuple, own: slice = own) -> tuple:
            z = inputs[0].clone()
            z[:, 1 if z.shape[1] > 1 else 0 :, own] = 0
            return (z,)

        handle = network.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(without)
        try:
            ids = torch.tensor([lm.tokenizer(prompt).input_ids])
            out = network.generate(ids, max_new_tokens=n_new, do_sample=False, pad_token_id=lm.pad_id)
        finally:
            handle.remove()
        new = out[0, ids.shape[1] :].tolist()
        stop = next((i for i, token in enumerate(new) if token in lm.stop_ids), len(new))
        found.append(tuple(new[:stop]))
    return found


def compared(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What is known after every repeat."""
    lm = emolib.load_model(arguments.model, device="cpu", dtype=arguments.dtype)
    network = plain_network(lm, arguments.model)
    data = emolib.load_dataset()
    prompts = data.loc[data["emotion"] == "neutral", "text"].tolist()[: arguments.prompts]
    layers = [lm.n_layers // 4, lm.n_layers // 2, 3 * lm.n_layers // 4]
    heads = [(layer, head) for layer in layers for head in range(lm.n_heads)][: arguments.heads]
    rows = [(prompt, head) for head in heads for prompt in prompts]
    some = rows[: arguments.rows_of_loop]
    acts = [emolib.AblateHead(*head) for _, head in rows]
    n_new, taken = arguments.max_new_tokens, {"loop": list[float](), "emolib": list[float]()}
    emolib.generate(lm, prompts[:1], max_new_tokens=1)  # the first call checks the batching
    unpatched = emolib.generate(lm, prompts, max_new_tokens=n_new)
    for number in range(1, arguments.repeats + 1):
        spent, by_hand = seconds(lambda: by_loop(lm, network, some, n_new), lm.device)
        taken["loop"].append(sum(map(len, by_hand)) / spent)
        spent, outs = seconds(lambda: emolib.generate(lm, [p for p, _ in rows], acts, max_new_tokens=n_new), lm.device)
        taken["emolib"].append(sum(len(out.token_ids) for out in outs) / spent)
        last = ", ".join(f"{way} {values[-1]:.1f} tokens/s" for way, values in taken.items())
        print(f"repeat {number} of {arguments.repeats}: {last}", file=sys.stderr, flush=True)
        speed = {way: statistics.median(values) for way, values in taken.items()}
        ratio = speed["emolib"] / speed["loop"]
        yield {
            "rows": {"loop": len(some), "emolib": len(rows)},
            "tokens_per_s": speed,
            "repeats": taken,
            "equal_texts": sum(out.token_ids == ids for out, ids in zip(outs, by_hand, strict=False)),
            "changed_texts": sum(out.token_ids != unpatched[i % len(prompts)].token_ids for i, out in enumerate(outs)),
            "targets": {"emolib/loop": {"least": TARGET, "reached": ratio, "met": ratio >= TARGET}},
            "complete": number == arguments.repeats,
        }


def _above_0(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--rows-of-loop", type=int, default=12)
    parser.add_argument("--max-new-tokens", type=int, default=30)
    parser.add_argument("--repeats", type=_above_0, default=3, help="the median counts")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    about = {"benchmark": "head_generation", **described(torch.device("cpu")), "settings": settings}
    result: dict[str, Any] = {}
    for result in compared(arguments):
        if arguments.json or result["complete"]:
            write_json(arguments.json, {**about, **result})
    print(table([{"way": way, "tokens/s": speed} for way, speed in result["tokens_per_s"].items()]))
    target = result["targets"]["emolib/loop"]
    print(f"emolib/loop: {target['reached']:.3g} (at least {target['least']}) {'met' if target['met'] else 'NOT met'}")
    print(f"{result['equal_texts']} of {result['rows']['loop']} texts equal the loop's")


if __name__ == "__main__":
    run_main(main)
