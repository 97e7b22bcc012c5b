#!/usr/bin/env bash
# transformers 5.23.0: LlamaConfig refuses a width that its heads do not divide, although `head_dim` says the heads' width.
#
# The attention of Llama, Qwen3, Mistral and Gemma is the same here: its projections go from `hidden_size` to
# `num_attention_heads * head_dim` and back, and the configuration has a field for `head_dim`. Of the four, Llama's alone
# is refused where the heads do not divide `hidden_size`; the same sizes set after it was made give a model that runs.
# A copy of a Llama whose residual stream is widened (by a rotation into more dimensions, or with dimensions set aside)
# keeps its heads, and so meets this.
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
heads = {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8}
sizes = {"vocab_size": 64, "num_hidden_layers": 2, "intermediate_size": 48, "bos_token_id": 1, "eos_token_id": 1}
print(f"transformers {transformers.__version__}; hidden_size 32, 3 heads of width 8")


def runs(config):
    """Shapes of a fresh model's logits and of its first query projection."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        logits = model(torch.tensor([[5, 9, 17]])).logits
    assert torch.isfinite(logits).all()
    return tuple(logits.shape), tuple(model.model.layers[0].self_attn.q_proj.weight.shape)


refused = []
for kind in ("llama", "qwen3", "mistral", "gemma"):
    try:
        found = runs(AutoConfig.for_model(kind, hidden_size=32, pad_token_id=0, **heads, **sizes))
        print(f"{kind:8}logits {found[0]}, queries {found[1]}")
        assert found == ((1, 3, 64), (24, 32))
    except Exception as error:
        if isinstance(error, AssertionError):
            raise
        refused.append(kind)
        print(f"{kind:8}refused: {str(error).splitlines()[-1].strip()}")
assert refused == ["llama"], refused

config = AutoConfig.for_model("llama", hidden_size=24, pad_token_id=0, **heads, **sizes)
config.hidden_size = 32
found = runs(config)
print(f"llama, hidden_size set to 32 afterwards: logits {found[0]}, queries {found[1]}")
assert found == ((1, 3, 64), (24, 32))
PY
echo "as described"
