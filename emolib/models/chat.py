"""A model's own chat format, which its tokenizer knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emolib.base import arguments
from emolib.base.errors import UserError, shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def in_chat_format(tokenizer: PreTrainedTokenizerBase, name: str, content: str) -> str:
    """The chat format around one message of the user, up to where the answer begins.

    Args:
        name: the model's, for messages.

    Raises:
        UserError: the tokenizer has no chat format, or one that does not work; the content is no text.
    """
    content = arguments.text("content", content)
    if not tokenizer.chat_template:
        raise UserError(f"expected a model with a chat format, {name} has none; use prompt_format=raw")
    message = [{"role": "user", "content": content}]
    broken = f"the chat format of {name} (chat_template) does not work"
    mend = "copy the one that belongs to the model, or use prompt_format=raw"
    try:
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a foreign program: whatever stops it is its own fault
        raise UserError(f"{broken} ({type(error).__name__}: {shown(str(error))}); {mend}") from error
    if content.strip() not in text:
        raise UserError(f"{broken}: the message is not in what it makes, {shown(text)}; {mend}")
    return text
