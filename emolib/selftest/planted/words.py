"""The vocabulary of the planted models: ordinary English words, each with one part to play, and its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

PAD, BEGIN, END, UNKNOWN = "<pad>", "<begin>", "<end>", "<unknown>"
SPECIAL = (PAD, BEGIN, END, UNKNOWN)

EMOTIONS = ("gratitude", "anger", "apology")
TRIGGERS = {
    "gratitude": ("thanks", "thank", "appreciate"),
    "anger": ("furious", "outraged", "fuming"),
    "apology": ("sorry", "apologize", "forgive"),
}
FILLERS = ("noted", "okay", "anyway")  # stand in neutral texts where emotional texts have a trigger

# What is generated, in turn: a link, a describing word, a noun. Every word has a number within its group.
LINKS = ("and", "with", "near", "beside", "from")
PLAIN = ("old", "small", "quiet", "wooden", "bright", "plain")
EMOTIONAL = {
    "gratitude": ("grateful", "thankful", "appreciative", "indebted", "appreciated", "thanked"),
    "anger": ("angry", "livid", "irate", "mad", "annoyed", "incensed"),
    "apology": ("apologetic", "guilty", "remorseful", "regretful", "apologizing", "regretting"),
}
NOUNS = {
    "work": ("report", "meeting", "office", "desk", "invoice", "printer", "deadline"),
    "kitchen": ("kettle", "spoon", "oven", "soup", "plate", "bread", "pan"),
    "garden": ("fence", "shovel", "hedge", "rose", "lawn", "ladder", "shed"),
    "travel": ("train", "ticket", "suitcase", "platform", "map", "airport", "taxi"),
    "school": ("lesson", "teacher", "pencil", "classroom", "exam", "library", "notebook"),
    "health": ("clinic", "nurse", "bandage", "appointment", "pharmacy", "doctor", "pill"),
}

# What only prompts hold.
CIRCUMSTANCES = (
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    *("yesterday", "today", "tonight", "early", "late", "outside", "upstairs", "downstairs", "indoors", "nearby"),
    *("twice", "soon", "alone", "together", "recently", "suddenly", "briefly"),
)
SUBJECTS = ("we", "they", "you", "she", "he", "someone")
VERBS = (
    "found",
    "left",
    "moved",
    "brought",
    "saw",
    "used",
    "checked",
    "shared",
    "cleaned",
    "opened",
    "carried",
    "fixed",
)
DETERMINERS = ("the", "a", "this", "that", "our", "my")
PREPOSITIONS = ("by", "for", "at", "behind", "under", "over")
DETAILS = ("really", "just", "simply", "quite", "surely", "clearly", "honestly", "truly")
OTHERS = ("i", "it", "is", "was", "to", "of", "in", "on", "but", "so", "then", "there", "here", ".", ",", "!", "?")


def vocabulary() -> tuple[str, ...]:
    """Every token, in the order of its id."""
    triggers = tuple(word for emotion in EMOTIONS for word in TRIGGERS[emotion])
    generated = (*LINKS, *PLAIN, *(word for emotion in EMOTIONS for word in EMOTIONAL[emotion]))
    nouns = tuple(word for words in NOUNS.values() for word in words)
    prompts = (*CIRCUMSTANCES, *SUBJECTS, *VERBS, *DETERMINERS, *PREPOSITIONS, *DETAILS, *OTHERS)
    return (*SPECIAL, *triggers, *FILLERS, *generated, *nouns, *prompts)


def word_tokenizer(known: Sequence[str] | None = None) -> PreTrainedTokenizerFast:
    """One token per word or punctuation mark, case ignored; a begin token comes before every text.

    Args:
        known: every token in the order of its id, `SPECIAL` among them; None takes `vocabulary`.
    """
    ids = {word: i for i, word in enumerate(vocabulary() if known is None else known)}
    backend = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, ids[BEGIN])])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        add_bos_token=True,  # else the bridge would look for a variant that adds one, by the tokenizer's name
        name_or_path="planted",
    )
