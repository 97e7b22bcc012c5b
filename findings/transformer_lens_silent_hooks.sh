#!/usr/bin/env bash
# transformer-lens 4.3.0: on GPT-NeoX (Pythia) four hook points per block take hooks and never call them.
#
# `attn.hook_rot_q` and `hook_rot_k` are the queries and keys after the rotary embedding; `attn.qkv.hook_in` and
# `hook_out` stand around the joint projection. `run_with_hooks` accepts hooks at all four and returns the logits of
# the unpatched model: an ablation there looks like a head that does not matter. On Llama the same names act.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet transformer-lens==4.3.0 transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$home"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$home/venv/bin/python" - 2>"$home/stderr" <<'PY' || { cat "$home/stderr"; exit 1; }
from importlib.metadata import version

import torch
from tokenizers import Tokenizer, models
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

ROTATED = ("blocks.0.attn.hook_rot_q", "blocks.0.attn.hook_rot_k")
JOINT = ("blocks.0.attn.qkv.hook_in", "blocks.0.attn.qkv.hook_out")
OTHERS = ("blocks.0.attn.hook_q", "blocks.0.attn.hook_pattern")
ids = torch.tensor([[5, 9, 17, 23]])


def tiny(kind):
    """A model of random weights, saved and booted as one would boot a real one."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        initializer_range=0.3, bos_token_id=1, eos_token_id=1,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(kind)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(64)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", eos_token="w1").save_pretrained(kind)
    return TransformerBridge.boot_transformers(kind, device="cpu", dtype=torch.float32)


def ablate(bridge, name):
    """How often a hook that zeroes the point was called, and how far the logits moved."""
    calls = []

    def zero(value, hook):
        calls.append(hook.name)
        return torch.zeros_like(value)

    moved = bridge.run_with_hooks(ids, fwd_hooks=[(name, zero)]) - bridge(ids)
    return len(calls), moved.abs().max().item()


print(f"transformer-lens {version('transformer-lens')}, transformers {version('transformers')}, random weights")
for kind in ("gpt_neox", "llama"):
    bridge = tiny(kind)
    with torch.no_grad():
        for name in (*ROTATED, *JOINT, *OTHERS):
            if name not in bridge.hook_dict:
                continue  # Llama has no joint projection
            calls, moved = ablate(bridge, name)
            print(f"{kind:9}{name:28}zeroed: {calls} call(s), logits move by {moved:.2f}")
            silent = kind == "gpt_neox" and name in (*ROTATED, *JOINT)
            assert (calls == 0 and moved == 0) if silent else (calls == 1 and moved > 0.1), name
    assert kind == "llama" or all(name in bridge.hook_dict for name in (*ROTATED, *JOINT)), "the points exist"
PY
echo "as described"
