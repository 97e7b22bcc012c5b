"""Linear models on weighted n-grams of words: the lexical scorers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load, save
from scipy import sparse

from emolib.base import files
from emolib.base.errors import UserError, one_line, shown
from emolib.base.paths import display
from emolib.base.store import digest, sha256_of

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

RETRAIN = "restore it from the repository or run `emolib train-scorers`"
COMPUTATION = 1  # raised when the same files would give other numbers
# Words with their inner apostrophes, runs of ! and ?, and every other sign by itself (emoji, dots, quotation marks).
TOKEN = r"\w+(?:['’]\w+)*|[!?]+|[^\w\s]"


def vectorizer(**settings: object) -> TfidfVectorizer:
    """The n-grams of one and two tokens, lower case, weighted by 1 + log(count) and inverse document frequency."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    fixed = {"ngram_range": (1, 2), "token_pattern": TOKEN, "sublinear_tf": True, "dtype": np.float32}
    return TfidfVectorizer(**fixed, **settings)


@dataclass(frozen=True)
class KnownNgrams:
    """A vectorizer whose n-grams are known, made when the first text comes: scikit-learn takes a second to load.

    Attributes:
        vocabulary_: the column of each n-gram.
        idf_: `[n-gram]` float32, their inverse document frequencies.
    """

    vocabulary_: dict[str, int]
    idf_: np.ndarray

    @cached_property
    def _made(self) -> TfidfVectorizer:
        words = vectorizer(vocabulary=self.vocabulary_)
        words.idf_ = self.idf_
        return words

    def transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """`[text, n-gram]`."""
        return self._made.transform(texts)


@dataclass(frozen=True)
class NgramModel:
    """x W + b, with x the weighted n-grams of a text.

    Attributes:
        words: a vectorizer whose vocabulary and inverse document frequencies are set.
        weights: `[n-gram, output]` float32.
        bias: `[output]` float32.
        version: a hash of the files it was read from.
    """

    words: TfidfVectorizer | KnownNgrams
    weights: np.ndarray
    bias: np.ndarray
    version: str = ""

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """`[text, output]` float32."""
        return self.of_counts(self.words.transform(texts))

    def of_counts(self, weighted: sparse.csr_matrix) -> np.ndarray:
        return np.asarray(weighted @ self.weights) + self.bias

    def files(self, name: str) -> dict[str, bytes]:
        """What is stored: half-precision weights, and the n-grams in the order of the weights' rows."""
        grams = sorted(self.words.vocabulary_, key=self.words.vocabulary_.get)
        tensors = {
            "weights": self.weights.astype(np.float16),
            "bias": self.bias.astype(np.float32),
            "idf": self.words.idf_.astype(np.float16),
        }
        vocabulary = json.dumps(grams, ensure_ascii=False, separators=(",", ":"))
        return {f"{name}.safetensors": save(tensors), f"{name}.vocabulary.json": vocabulary.encode()}

    def rounded(self) -> NgramModel:
        """The model as it comes back from its files."""
        words = _with_frequencies(self.words.vocabulary_, self.words.idf_.astype(np.float16))
        return NgramModel(words, self.weights.astype(np.float16).astype(np.float32), self.bias.astype(np.float32))

    @classmethod
    def read(cls, folder: Path, name: str) -> NgramModel:
        """Raises `UserError` where a file is missing or does not fit the other."""
        tensors_file, vocabulary_file = folder / f"{name}.safetensors", folder / f"{name}.vocabulary.json"
        tensors = read_tensors(tensors_file, {"weights": 2, "bias": 1, "idf": 1})
        grams = files.read_json(
            vocabulary_file, kind=list, name=f"the trained scorer {display(vocabulary_file)}", advice=RETRAIN
        )
        if not all(isinstance(gram, str) for gram in grams) or len(set(grams)) < len(grams):
            raise UserError(f"expected distinct n-grams in {display(vocabulary_file)}, got others; {RETRAIN}")
        if len(grams) != len(tensors["weights"]):
            raise UserError(
                f"{display(vocabulary_file)} has {len(grams)} n-grams, {display(tensors_file)} weights for "
                f"{len(tensors['weights'])}; restore both from the repository or run `emolib train-scorers`"
            )
        words = _with_frequencies({gram: i for i, gram in enumerate(grams)}, tensors["idf"])
        version = digest([COMPUTATION, sha256_of(tensors_file), sha256_of(vocabulary_file)])
        return cls(words, tensors["weights"].astype(np.float32), tensors["bias"].astype(np.float32), version)


def read_tensors(path: Path, axes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The tensors of a trained scorer, checked for their names and numbers of axes.

    Raises:
        UserError: the file is missing or holds something else.
    """
    data = files.read_bytes(path, name=f"the trained scorer {display(path)}", advice=RETRAIN)
    try:
        tensors = load(data)
    except Exception as error:  # what the library says to a broken file has no common type
        raise UserError(
            f"expected tensors in {display(path)}, got others ({one_line(error):.200}); {RETRAIN}"
        ) from error
    found = {name: values.ndim for name, values in tensors.items()}
    if found != dict(axes):
        raise UserError(f"expected tensors and axes {dict(axes)} in {display(path)}, got {shown(found)}; {RETRAIN}")
    return tensors


def _with_frequencies(vocabulary: dict[str, int], idf: np.ndarray) -> KnownNgrams:
    return KnownNgrams(vocabulary, idf.astype(np.float32))
