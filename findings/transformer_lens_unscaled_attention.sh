#!/usr/bin/env bash
# transformer-lens 4.3.0: the bridge scales GPT-2's attention scores although the model's configuration says not to.
#
# With `scale_attn_weights: false` in `config.json`, transformers' GPT-2 takes the scores of queries and keys as they
# are. `boot_transformers` divides them by the square root of a head's width all the same: the logits are those of
# another model. Nothing is said. The sibling option `scale_attn_by_inverse_layer_idx` is followed.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet transformer-lens==4.3.0 transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$home"
cat >"$home/look.py" <<'PY'
from importlib.metadata import version

import torch
from tokenizers import Tokenizer, models
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

OPTIONS = {
    "as GPT-2 is": {},
    "scale_attn_by_inverse_layer_idx: true": {"scale_attn_by_inverse_layer_idx": True},
    "scale_attn_weights: false": {"scale_attn_weights": False},
}
UNSCALED = "scale_attn_weights: false"
ids = torch.tensor([[5, 9, 17, 23, 41, 2, 30, 11]])


def save(folder, seed, options):
    """A tiny GPT-2 of random weights with its tokenizer, as one would save one's own."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        "gpt2", vocab_size=64, n_embd=32, n_layer=3, n_head=2, initializer_range=0.3,
        bos_token_id=1, eos_token_id=1, **options,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(64)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", eos_token="w1").save_pretrained(folder)


def logits(folder, **overrides):
    """transformers' own logits of the folder, in evaluation mode and with plain attention."""
    own = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", **overrides).eval()
    return own(ids).logits


print(f"transformer-lens {version('transformer-lens')}, transformers {version('transformers')}, random weights")
with torch.no_grad():
    for seed in range(3):
        for name, options in OPTIONS.items():
            folder = f"seed{seed}-{'-'.join(options) or 'plain'}"
            save(folder, seed, options)
            bridge = TransformerBridge.boot_transformers(folder, device="cpu", dtype=torch.float32)(ids)
            own = logits(folder)
            far = (bridge - own).abs().max().item() / own.std().item()
            said = f"seed {seed}, {name:38}bridge against transformers: at most {far:.1e} sd of the logits"
            if name != UNSCALED:
                print(said)
                assert far < 1e-4, "every other form agrees"
                continue
            scaled = logits(folder, scale_attn_weights=True)
            near = (bridge - scaled).abs().max().item() / own.std().item()
            print(f"{said}; against the same weights with the option true: {near:.1e}")
            assert far > 0.1, "the scores are scaled all the same"
            assert near < 1e-4, "and that is the whole difference"
PY
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$home/venv/bin/python" look.py 2>"$home/stderr" || { cat "$home/stderr"; exit 1; }
if grep -qi "scale_attn\|scaling\|attention scores" "$home/stderr"; then
    echo "something is said about it now:"
    cat "$home/stderr"
    exit 1
fi
echo "nothing about it on stderr: as described"
