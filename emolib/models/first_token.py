"""Families whose texts begin with a token of their own (BOS), and tokenizers of them that have lost the word for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emolib.models.settings_files import read_settings
from emolib.models.tokenizer_class import SETTINGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# by architecture, the token that its makers' models were trained with before every text; others of the same
# architecture (SmolLM2 is a Llama, too) have another one and none before a text
GEMMA, LLAMA = ("<bos>",), ("<s>", "<|begin_of_text|>")
FAMILIES = {
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), GEMMA),
    **dict.fromkeys(("llama", "mistral"), LLAMA),
}
STATED = "add_bos_token"
PROBE = "A text"


def restore_first_token(tokenizer: PreTrainedTokenizerBase, folder: Path, called: str, model_type: str) -> None:
    """Has the tokenizer put the first token before every text where its family needs it and no file says otherwise.

    Args:
        folder: the model's; `add_bos_token: false` in its `tokenizer_config.json` is the user's word and stands.
        called: the model as its user called it.
    """
    if tokenizer.bos_token is None or tokenizer.bos_token not in FAMILIES.get(model_type, ()):
        return
    path = folder / SETTINGS
    if path.exists() and read_settings(path, called).get(STATED) is False:  # `true` alone transformers does not read
        return
    if tokenizer(PROBE).input_ids[:1] != [tokenizer.bos_token_id]:
        tokenizer.add_bos_token = True  # which makes anew what the tokenizer puts around a text
