#!/usr/bin/env bash
# transformers 5.23.0: a model folder without tokenizer files gives a tokenizer that turns every text into nothing.
#
# `model.save_pretrained` writes no tokenizer, so a folder of configuration and weights alone is soon made. One would
# expect an error from `AutoTokenizer.from_pretrained`, as Llama's folder gives one (and as 4.57.3 gave for all four).
# For GPT-2, GPT-NeoX and Qwen2 it builds a tokenizer of the special tokens alone: one or two entries, no id for any
# text, no warning. A text-generation pipeline on such a GPT-2 or GPT-NeoX folder returns each prompt as it came.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$home"
cat >"$home/look.py" <<'PY'
import os

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, pipeline

TEXT = "I am glad that you came."
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
print(f"transformers {transformers.__version__}, random weights, 64 ids")
for kind in ("gpt2", "gpt_neox", "qwen2", "llama"):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=64, bos_token_id=1, eos_token_id=1, **SIZE)
    AutoModelForCausalLM.from_config(config).save_pretrained(kind)
    files = sorted(os.listdir(kind))
    assert files == ["config.json", "generation_config.json", "model.safetensors"], files
    try:
        tokenizer = AutoTokenizer.from_pretrained(kind)
    except (OSError, ValueError) as error:
        print(f"{kind:9}{type(error).__name__}: {str(error).splitlines()[0]}")
        assert kind == "llama", "the others say nothing"
        continue
    vocabulary, ids = tokenizer.get_vocab(), tokenizer(TEXT)["input_ids"]
    print(f"{kind:9}{type(tokenizer).__name__} with {vocabulary}: {TEXT!r} -> {ids}")
    assert kind != "llama" and set(vocabulary) <= {"<|endoftext|>", "<|padding|>"}, "special tokens alone"
    assert ids == [] and tokenizer.decode(ids) == "", "the text is gone"
    if kind != "qwen2":
        made = pipeline("text-generation", model=kind, tokenizer=kind)(TEXT, max_new_tokens=4, do_sample=False)
        print(f"{kind:9}asked for 4 more tokens, the pipeline returns {made[0]['generated_text']!r}")
        assert made[0]["generated_text"] == TEXT, "nothing is generated, and nothing is said"
PY
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$home/venv/bin/python" look.py 2>"$home/stderr" || { cat "$home/stderr"; exit 1; }
if grep -qi "tokenizer\|vocab\|empty" "$home/stderr"; then
    echo "something is said about it now:"
    cat "$home/stderr"
    exit 1
fi
echo "nothing about it on stderr: as described"
