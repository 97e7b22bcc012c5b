"""m with only some nodes free, exactly: by running the model with all others held at another run's values.

m is a weighted sum of mean token log-probabilities of texts after prompts, under acts, per scenario (as the
continuation shift has it). Every row has a source, from which held nodes take their values: its own prompt and text
without the context or the steer, another scenario's neutral run (resample), or nothing (zero). Their mean over all
sources and tokens stands for mean ablation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.circuits.faithfulness import CircuitEffect
from emolib.circuits.nodes import Node, NodeSet
from emolib.circuits.ov_qk import known_blueprint
from emolib.engine.continuation_tokens import continuations
from emolib.engine.held_pass import ForcedText, Held, HeldOutputs, HeldPass, NodeValues, held_outputs
from emolib.interventions import Intervention, acts_of, check_interventions
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel
from emolib.models.limits import check_length
from emolib.models.tokens import encode

Ablation = Literal["source", "mean", "zero"]
ABLATIONS: tuple[Ablation, ...] = ("source", "mean", "zero")
ROWS_AT_ONCE = 32
MOST_FLOATS = 2**29  # of known outputs that are kept; beyond that they are worked out every time


@dataclass(frozen=True)
class EffectRow:
    """One log-probability that m is made of, and what stands for it without the effect.

    Attributes:
        prompt, text, act: with the context or steer.
        weight: of the mean log-probability in its scenario's m.
        without: the prompt without the context; None: the same prompt. It never has an act.
        source: prompt and text of the run whose values held nodes take; None: `without` and the row's own text.
        reach: prompt tokens from the end on which nodes are held; None: all but the first. Where the context makes the
            prompt longer than the source's, the tokens that both have.
        most_tokens: of the text (and the source's) that are read at most, its first left out; None: all.
    """

    scenario: str
    prompt: str
    text: str
    weight: float
    act: Intervention = None
    without: str | None = None
    source: tuple[str, str] | None = None
    reach: int | None = None
    most_tokens: int | None = None


def resampled(rows: Sequence[EffectRow], runs: Mapping[str, tuple[str, str]], *, seed: int = 0) -> list[EffectRow]:
    """The rows with another scenario's run as their source: resample ablation.

    Args:
        runs: scenario → the prompt and text of its neutral run; every scenario gets another's, each once.

    Raises:
        UserError: fewer than two runs, or a scenario without one.

    >>> rows = [EffectRow(name, "It rained.", "It came at noon.", 1.0) for name in ("a", "b")]
    >>> [row.source for row in resampled(rows, {"a": ("One.", "Two."), "b": ("Three.", "Four.")})]
    [('Three.', 'Four.'), ('One.', 'Two.')]
    """
    names = list(runs)
    missing = sorted({row.scenario for row in rows} - set(names))
    if len(names) < 2 or missing:
        raise UserError(
            f"expected neutral runs of at least two scenarios and of every row's, got {len(names)}, missing: {missing}"
        )
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    other = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [replace(row, source=runs[other[row.scenario]]) for row in rows]


def circuit_effect(
    lm: LanguageModel,
    rows: Sequence[EffectRow],
    nodes: Sequence[Node],
    *,
    groups: Mapping[Node, Sequence[int]] | None = None,
    ablation: Ablation = "source",
    batch_size: int = ROWS_AT_ONCE,
) -> CircuitEffect:
    """What evaluates m with only some nodes left free, by the model itself.

    For the effect of a *context* a row is (context and prompt, emotion's text, 1) with `without` the neutral context
    and prompt, beside one of the neutral text with weight −1. For the effect of a *steer* on S a row is (prompt, text,
    act), weights ±1 as in S; unpatched, these cancel.

    Args:
        nodes: those that may be held.
        groups: of every node of kind `neurons` its neurons; an MLP is held whole or by groups, not both.
        ablation: `source` (own or resampled, as the rows say), `mean` of all sources over tokens, or `zero`.

    Raises:
        UserError: no rows, fewer than two scenarios, a node or an act that does not fit the model, texts that are too
            long, weights that the engine does not read.

    >>> import emolib
    >>> from emolib.circuits.faithfulness import faithfulness
    >>> from emolib.circuits.nodes import all_nodes
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> feel = {"a": "I am so grateful. ", "b": "I cannot thank you enough. "}
    >>> rows = [EffectRow(s, c + "The bus came.", "Thank you for waiting.", 1.0, without="It is Monday. The bus came.",
    ...                   reach=4) for s, c in feel.items()]
    >>> effect = circuit_effect(lm, rows, all_nodes(lm, first_layer=20))
    >>> table = faithfulness(effect, [frozenset(effect.nodes), frozenset()])
    >>> table["size"].tolist(), bool(table["gained"][0] != table["gained"][1])
    ([100, 0], True)
    """
    known_blueprint(lm)
    arguments.one_of("ablation", ablation, ABLATIONS)
    size = arguments.whole_number("batch_size", batch_size, least=1)
    if not rows:
        raise UserError("expected rows of prompts and texts, got none")
    groups = _checked_nodes(lm, nodes, {} if groups is None else groups)
    check_interventions(lm, [row.act for row in rows])
    job = _Job.of(lm, rows, tuple(nodes), groups, ablation, size)
    without = [job.forced(row.without or row.prompt, row.text, row) for row in rows]
    base = job.logprobs(list(dict.fromkeys(without)))  # both acts of a contrast share what is there without them
    of_row = np.array([[base[text] for text in without]])
    return CircuitEffect(tuple(nodes), job.evaluate, job.by_scenario(of_row)[0])


def _checked_nodes(
    lm: LanguageModel, nodes: Sequence[Node], groups: Mapping[Node, Sequence[int]]
) -> Mapping[Node, Sequence[int]]:
    """The groups of the neurons among the nodes.

    Raises:
        UserError: a node that the model does not have, a group without neurons, or neurons held twice.
    """
    seen: dict[int, set[int]] = {}
    for node in nodes:
        known = {"head": 0 <= node.index < lm.n_heads, "mlp": node.index == 0, "neurons": node in groups}[node.kind]
        if not (known and 0 <= node.layer < lm.n_layers):
            raise UserError(
                f"expected nodes of {lm.n_layers} layers with {lm.n_heads} heads, and groups for neurons, got {node}"
            )
        if node.kind == "neurons":
            size = lm.native.layers[node.layer].down.weight.shape[1]
            members = set(arguments.whole_numbers("groups", groups.get(node, ()), least=0, most=size - 1))
            taken = seen.setdefault(node.layer, set())
            if not members or members & taken or Node(node.layer, "mlp") in nodes:
                raise UserError(
                    f"expected neurons of {node.name} that no other node of its layer holds, got {len(members)}, "
                    f"{len(members & taken)} of them twice"
                )
            taken |= members
    return {node: list(groups[node]) for node in nodes if node.kind == "neurons"}


@dataclass(frozen=True)
class _Job:
    """What all evaluations share; a row's tokens and sources are looked up once."""

    lm: LanguageModel
    rows: Sequence[EffectRow]
    nodes: tuple[Node, ...]
    groups: Mapping[Node, Sequence[int]]
    ids: dict[str, tuple[int, ...]]
    texts: dict[str, tuple[int, ...]]
    ablation: Ablation
    sources: Sequence[ForcedText]
    source_of: torch.Tensor
    width: int
    n_fed: int
    size: int

    @classmethod
    def of(
        cls,
        lm: LanguageModel,
        rows: Sequence[EffectRow],
        nodes: tuple[Node, ...],
        groups: Mapping[Node, Sequence[int]],
        ablation: Ablation,
        size: int,
    ) -> _Job:
        sources = [row.source or (row.without or row.prompt, row.text) for row in rows]
        prompts = list(
            dict.fromkeys(
                [*(row.prompt for row in rows), *(row.without or row.prompt for row in rows), *(s[0] for s in sources)]
            )
        )
        ids = {prompt: tuple(row) for prompt, row in zip(prompts, encode(lm, prompts, name="prompts"), strict=True)}
        said = list(dict.fromkeys([*(row.text for row in rows), *(s[1] for s in sources)]))
        texts = {text: found.ids for text, found in zip(said, continuations(lm, said), strict=True)}
        distinct = list(dict.fromkeys((*one, row.most_tokens) for one, row in zip(sources, rows, strict=True)))
        width = max(map(len, ids.values()))
        n_fed = max(len(_cut(texts[row.text], row.most_tokens)) - 1 for row in rows)
        n_fed = max(n_fed, *(len(_cut(texts[text], most)) - 1 for _, text, most in distinct))
        check_length(lm, width, n_fed + 1, "the longest prompt with the longest text")
        places = {source: i for i, source in enumerate(distinct)}
        of_rows = [places[*one, row.most_tokens] for one, row in zip(sources, rows, strict=True)]
        runs = [ForcedText(ids[prompt], _cut(texts[text], most)) for prompt, text, most in distinct]
        source_of = torch.tensor(of_rows, device=lm.device)
        return cls(lm, rows, nodes, groups, ids, texts, ablation, runs, source_of, width, n_fed, size)

    @cached_property
    def first(self) -> int:
        """The first layer with a node that may be held: before it every set leaves the rows' own stream. 0 where acts
        change what a head or an MLP gives."""
        on_stream = all(getattr(act, "site", "") == "resid_pre" for row in self.rows for act in acts_of(row.act))
        return min((node.layer for node in self.nodes), default=0) if on_stream else 0

    @cached_property
    def values(self) -> NodeValues:
        """What held nodes are held at; nothing is run for it before something is held."""
        recorded = [
            HeldPass(self.lm, self.sources[start : start + self.size], self.width, self.n_fed).record(
                neurons=bool(self.groups)
            )
            for start in range(0, len(self.sources), self.size)
        ]
        return _ablated(_joined(recorded), self.ablation)

    @cached_property
    def outputs(self) -> list[HeldOutputs]:
        """Of so many rows at once what whole attentions and MLPs add when held; none where that needs too much
        memory."""
        columns = self.width + self.n_fed
        if 2 * len(self.rows) * columns * self.lm.n_layers * self.lm.d_model > MOST_FLOATS:
            return []
        found = []
        for start in range(0, len(self.rows), self.size):
            chosen = list(range(start, min(start + self.size, len(self.rows))))
            found.append(held_outputs(self._pass(chosen, self._held(frozenset(), chosen, [])), self.first))
        return found

    def logprobs(self, texts: Sequence[ForcedText]) -> dict[ForcedText, float]:
        """Mean log-probabilities with nothing done to the model."""
        found: list[float] = []
        for start in range(0, len(texts), self.size):
            some = texts[start : start + self.size]
            found += HeldPass(self.lm, some, self.width, self.n_fed).logprobs().cpu().tolist()
        return dict(zip(texts, found, strict=True))

    def forced(self, prompt: str, text: str, row: EffectRow) -> ForcedText:
        """A prompt and so much of a text as the row reads."""
        return ForcedText(self.ids[prompt], _cut(self.texts[text], row.most_tokens))

    def evaluate(self, sets: Sequence[NodeSet]) -> Float[np.ndarray, "set scenario"]:
        """m per kept set and scenario. Rows that run together share their set, so that what it does not free is not
        worked out."""
        found, every = np.zeros((len(sets), len(self.rows))), set(self.nodes)
        for i, kept in enumerate(sets):
            free = every <= kept
            for start in range(0, len(self.rows), self.size):
                chosen = list(range(start, min(start + self.size, len(self.rows))))
                held = None if free else self._held(kept, chosen, self.outputs)
                logprobs = self._pass(chosen, held).logprobs().cpu().numpy()
                require_finite(
                    self.lm, ((row, logprobs[j : j + 1]) for j, row in enumerate(chosen)), "the log-probability"
                )
                found[i, chosen] = logprobs
        return self.by_scenario(found)

    def _pass(self, chosen: Sequence[int], held: Held | None) -> HeldPass:
        rows = [self.forced(self.rows[row].prompt, self.rows[row].text, self.rows[row]) for row in chosen]
        acts = [self.rows[row].act if acts_of(self.rows[row].act) else None for row in chosen]
        return HeldPass(self.lm, rows, self.width, self.n_fed, acts, held)

    def by_scenario(self, logprobs: Float[np.ndarray, "set row"]) -> Float[np.ndarray, "set scenario"]:
        """Weighted sums, scenarios in the order in which they first come."""
        weights = pd.DataFrame({"scenario": [row.scenario for row in self.rows]})
        codes, _ = pd.factorize(weights["scenario"])
        found = np.zeros((len(logprobs), codes.max() + 1))
        for row, code in enumerate(codes):
            found[:, code] += self.rows[row].weight * logprobs[:, row]
        return found

    def _held(self, kept: NodeSet, chosen: Sequence[int], outputs: Sequence[HeldOutputs]) -> Held:
        """All nodes but those of a set, in some rows that follow one another."""
        heads = torch.zeros(self.lm.n_layers, self.lm.n_heads, dtype=torch.bool)
        mlps = torch.zeros(self.lm.n_layers, dtype=torch.bool)
        if outputs:  # what comes before is known, too
            heads[: self.first], mlps[: self.first] = True, True
        widths = {node.layer: self.lm.native.layers[node.layer].down.weight.shape[1] for node in self.groups}
        neurons = {layer: torch.zeros(width, dtype=torch.bool) for layer, width in widths.items()}
        for node in self.nodes:
            if node in kept:
                continue
            if node.kind == "head":
                heads[node.layer, node.index] = True
            elif node.kind == "mlp":
                mlps[node.layer] = True
            else:
                neurons[node.layer][list(self.groups[node])] = True
        reach = [self.width if self.rows[row].reach is None else int(self.rows[row].reach or 0) for row in chosen]
        device, n = self.lm.device, len(chosen)
        index = torch.tensor(list(chosen), device=device)
        return Held(
            self.values,
            self.source_of[index],
            heads.to(device).expand(n, -1, -1),
            mlps.to(device).expand(n, -1),
            {layer: mask.to(device).expand(n, -1) for layer, mask in neurons.items()},
            torch.tensor(reach, device=device),
            outputs[chosen[0] // self.size] if outputs else None,
            index - chosen[0],
        )


def _cut(ids: Sequence[int], most: int | None) -> tuple[int, ...]:
    """A text's first token and so many more."""
    return tuple(ids if most is None else ids[: 1 + most])


def _joined(parts: Sequence[NodeValues]) -> NodeValues:
    def joined(by_part: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
        return [torch.cat(of_layer) for of_layer in zip(*by_part, strict=True)]

    return NodeValues(
        joined([part.z for part in parts]),
        joined([part.mlps for part in parts]),
        joined([part.neurons for part in parts]),
        torch.cat([part.real for part in parts]),
    )


def _ablated(values: NodeValues, ablation: Ablation) -> NodeValues:
    """The sources' values, or what stands for all of them at every place."""
    if ablation == "source":
        return values
    everywhere = torch.ones_like(values.real)

    def same(part: torch.Tensor) -> torch.Tensor:
        mean = part[values.real].mean(0) if ablation == "mean" else torch.zeros_like(part[0, 0])
        return mean.expand_as(part)

    z, mlps, neurons = ([same(part) for part in of_site] for of_site in (values.z, values.mlps, values.neurons))
    return NodeValues(z, mlps, neurons, everywhere)
