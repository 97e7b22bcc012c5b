#!/usr/bin/env bash
# transformer-lens 4.3.0: a tokenizer that names no special tokens is given one, and GPT-2 reads it before every text.
#
# Small models of one's own often have a vocabulary of words or numbers and no begin, end or pad token. To theirs,
# `boot_transformers` adds "<|endoftext|>" as all three, with the next free id, and does so to the very object that was
# handed in. If the embedding has no row to spare, the id lies beyond it. If it has (sizes are often rounded up), a row
# that no training ever touched stands before each text, and the logits are not the model's own. Nothing is said.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet transformer-lens==4.3.0 transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$home"
cat >"$home/look.py" <<'PY'
from importlib.metadata import version

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

WORDS, TEXTS = 64, ["w3 w4", "w3"]


def own_tokenizer():
    """64 words, split at blanks, and no special token."""
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words)


print(f"transformer-lens {version('transformer-lens')}, transformers {version('transformers')}, random weights")
for rows in (WORDS, WORDS + 8):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gpt2", vocab_size=rows, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3,
        bos_token_id=None, eos_token_id=None,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(f"rows{rows}")
    mine = own_tokenizer()
    before = (len(mine), mine.bos_token, mine.eos_token, mine.pad_token)
    text = torch.tensor([mine(TEXTS[0])["input_ids"]])
    bridge = TransformerBridge.boot_transformers(f"rows{rows}", device="cpu", dtype=torch.float32, tokenizer=mine)
    after = (len(mine), mine.bos_token, mine.eos_token, mine.pad_token)
    given, bare = bridge.to_tokens(TEXTS).tolist(), bridge.to_tokens(TEXTS, prepend_bos=False).tolist()
    print(f"{rows} rows: the tokenizer was {before}, is {after}")
    print(f"{rows} rows: {TEXTS} -> {given}, without a begin token {bare}")
    assert before == (WORDS, None, None, None) and after == (WORDS + 1, *["<|endoftext|>"] * 3), "changed in place"
    assert given == [[WORDS, 3, 4], [WORDS, 3, WORDS]] and bare == [[3, 4], [3, WORDS]], "the new id begins and pads"
    known = bridge.embed.weight.shape[0]
    assert known == rows, "the embedding has not grown"
    if max(given[0]) >= known:
        print(f"{rows} rows: id {max(given[0])} has no row, the last one is {known - 1}")
        continue
    with torch.no_grad():
        own = model(text).logits[:, -1]
        ways = {"bridge(text)": bridge(TEXTS[0]), "prepend_bos=False": bridge(TEXTS[0], prepend_bos=False)}
    far = {name: (logits[:, -1] - own).abs().max().item() / own.std().item() for name, logits in ways.items()}
    print(f"{rows} rows: largest difference from the model's own last logits, in sd of these: "
          + ", ".join(f"{name} {value:.1e}" for name, value in far.items()))
    assert far["bridge(text)"] > 0.1 and far["prepend_bos=False"] < 1e-4, "the unused row moves them"
PY
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$home/venv/bin/python" look.py 2>"$home/stderr" || { cat "$home/stderr"; exit 1; }
if grep -qi "endoftext\|bos\|pad\b\|tokenizer" "$home/stderr"; then
    echo "something is said about it now:"
    cat "$home/stderr"
    exit 1
fi
echo "nothing about it on stderr: as described"
