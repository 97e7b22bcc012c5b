#!/usr/bin/env bash
# transformers 5.23.0: a left-padded batch gives GPT-2 and GPT-Neo other logits in `forward` than in `generate`.
#
# Both are given the same ids and the same attention mask. `generate` works the position ids out from the mask;
# `forward` counts the pads as positions, so a text's logits depend on how long its neighbours in the batch are. Models
# with rotary positions (GPT-NeoX, Llama, Qwen3) only see distances and are not touched: code that was tried on one of
# these reads other activations than it thinks on GPT-2. Giving `position_ids` mends it.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$home"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$home/venv/bin/python" - <<'PY'
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
SIZES = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global"], 2]]},
    "gpt_neox": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
}
text = torch.tensor([[5, 9, 17, 23]])
padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), text], dim=1)
mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
given = {"input_ids": padded, "attention_mask": mask}
positions = (mask.cumsum(-1) - 1).clamp(min=0)


def generated(model):
    """The logits from which `generate` takes its first token."""
    options = {"do_sample": False, "pad_token_id": 0, "output_logits": True, "return_dict_in_generate": True}
    return model.generate(**given, max_new_tokens=1, **options).logits[0]


print(f"transformers {transformers.__version__}, torch {torch.__version__}; 3 pads before 4 tokens, random weights")
for kind, size in SIZES.items():
    torch.manual_seed(0)
    ids = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, vocab_size=64, initializer_range=0.3, **ids, **size)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        alone = model(text).logits[:, -1]
        ways = {
            "forward": model(**given).logits[:, -1],
            "generate": generated(model),
            "forward with position ids": model(**given, position_ids=positions).logits[:, -1],
        }
    far = {name: (logits - alone).abs().max().item() / alone.std().item() for name, logits in ways.items()}
    print(f"{kind:9}largest difference from the text alone, in sd of its logits: "
          + ", ".join(f"{name} {value:.1e}" for name, value in far.items()))
    assert far["generate"] < 1e-4 and far["forward with position ids"] < 1e-4, "the text alone, to rounding"
    moved = kind in ("gpt2", "gpt_neo")
    assert far["forward"] > 0.1 if moved else far["forward"] < 1e-4, "absolute positions alone are moved"
PY
echo "as described"
