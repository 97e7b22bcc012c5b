"""One pass over forced texts in which heads, MLPs and neurons are held at what they were in another run.

A held head's output z (before W_O), a held MLP's output or a held neuron's activation takes the value that it had in a
source run at the same place: prompts are aligned from their ends, texts from their beginnings, and a text longer than
the source's goes on with the source's last token. A row's first token is never held, as it is never patched. Acts fall
where they fall everywhere.

Where all heads of a layer are held in all rows nothing of its attention has to be worked out, and so for a held MLP:
what they add is known beforehand (`HeldOutputs`), and a small circuit costs little more than its own nodes and the
logits. Behind the last layer whose attention is worked out no token reads another one, and the prompt is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emolib.engine.forward import ForwardPass
from emolib.interventions import Edits, Intervention
from emolib.models.attention import HeadParts, SharedKeys, attention
from emolib.models.blueprint import Layer
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import pad_left, position_ids


@dataclass(frozen=True)
class ForcedText:
    """A prompt and the text that is fed after it, in token ids; of the text all but the last are fed, all but the first
    are looked at."""

    prompt: tuple[int, ...]
    text: tuple[int, ...]


@dataclass(frozen=True)
class NodeValues:
    """What heads and MLPs had in source runs, by layer: z `[source, column, head, d_head]`, MLPs' outputs `[source,
    column, d_model]`, neurons `[source, column, neuron]` where they were asked for, and where a source has tokens
    `[source, column]`."""

    z: list[Float[Tensor, "source column head d_head"]]
    mlps: list[Float[Tensor, "source column d_model"]]
    neurons: list[Float[Tensor, "source column neuron"]]
    real: Bool[Tensor, "source column"]


@dataclass(frozen=True)
class HeldOutputs:
    """What a layer's attention and MLP add to the stream where all of their nodes are held: by layer `[row, column,
    d_model]`. Where nothing is held (a row's first token, tokens out of reach) it is what the row has there by itself:
    these tokens come first, and none of them sees a held one."""

    attended: list[Float[Tensor, "row column d_model"]]
    mlps: list[Float[Tensor, "row column d_model"]]


@dataclass(frozen=True)
class Held:
    """Which nodes of which rows are held, and at whose values.

    Attributes:
        source_of: per row.
        heads: `[row, layer, head]`, true where held.
        mlps: `[row, layer]`.
        neurons: layer → `[row, neuron]`, for the layers of which single neurons are held.
        reach: `[row]`, prompt tokens from the end on which nodes are held; the text's tokens always are.
        outputs: of whole attentions and MLPs, where they are known.
        places: per row, its place in `outputs`.
    """

    values: NodeValues
    source_of: Int[Tensor, " row"]
    heads: Bool[Tensor, "row layer head"]
    mlps: Bool[Tensor, "row layer"]
    neurons: Mapping[int, Bool[Tensor, "row neuron"]]
    reach: Int[Tensor, " row"]
    outputs: HeldOutputs | None = None
    places: Int[Tensor, " row"] | None = None


@dataclass
class HeldPass(ForwardPass):
    """Rows of one padded shape.

    Attributes:
        rows: prompt and text of each.
        width, n_fed: to which prompts (on the left) and fed texts (on the right) are padded.
    """

    lm: LanguageModel
    rows: Sequence[ForcedText]
    width: int
    n_fed: int
    acts: Sequence[Intervention] | None = None
    held: Held | None = None
    _where: Tensor | None = field(default=None, init=False)
    _kept: NodeValues | None = field(default=None, init=False)
    _keep_neurons: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__init__(self.lm, self.width + self.n_fed)
        ids, mask = pad_left([row.prompt for row in self.rows], self.lm.pad_id, self.width)
        fed = torch.zeros(len(self.rows), self.n_fed, dtype=torch.long)
        there = torch.zeros_like(fed)
        for i, row in enumerate(self.rows):
            n = len(row.text) - 1
            fed[i, :n] = torch.tensor(row.text[:-1])
            there[i, :n] = 1
        self._ids, self._mask = torch.cat([ids, fed], 1), torch.cat([mask, there], 1)
        lengths = [len(row.prompt) for row in self.rows]
        acts = [None] * len(self.rows) if self.acts is None else self.acts
        self._edits = Edits(self.lm, acts, lengths, self.width, self.n_fed)
        if self.held is not None:
            self._where = _held_columns(self.held, self._mask.to(self.device), self.width)

    @property
    def where(self) -> Tensor | None:
        """Tokens at which nodes are held, `[row, column]`."""
        return self._where

    @torch.inference_mode()
    def record(self, *, neurons: bool = False) -> NodeValues:
        """What every head and MLP (and neuron) has in these rows; a row's last token stands for what follows it."""
        last = self._mask.flip(1).argmax(1)
        order = torch.arange(self._total).expand(len(self.rows), -1)
        order = torch.minimum(order, (self._total - 1 - last)[:, None]).to(self.device)
        real = self._mask.bool() | (torch.arange(self._total) >= self.width)
        self._kept, self._keep_neurons = NodeValues([], [], [], real.to(self.device)), neurons
        self._run()
        kept, rows = self._kept, torch.arange(len(self.rows), device=self.device)[:, None]
        self._kept = None
        z, mlps, of_neurons = ([part[rows, order] for part in of_site] for of_site in (kept.z, kept.mlps, kept.neurons))
        return NodeValues(z, mlps, of_neurons, kept.real)

    @torch.inference_mode()
    def logprobs(self) -> Float[Tensor, " row"]:
        """Mean log-probability of every text's tokens but the first."""
        hidden = self._run()[:, -self.n_fed :]
        counts = torch.tensor([len(row.text) - 1 for row in self.rows], device=self.device)
        real = torch.arange(self.n_fed, device=self.device) < counts[:, None]
        targets = torch.zeros(len(self.rows), self.n_fed, dtype=torch.long)
        for i, row in enumerate(self.rows):
            targets[i, : len(row.text) - 1] = torch.tensor(row.text[1:])
        scores = torch.zeros(real.shape, device=self.device)
        net, wanted = self.net, targets.to(self.device)[real]
        found = [
            net.head(net.final_norm(part)).float().log_softmax(-1).gather(1, target[:, None])[:, 0]
            for part, target in zip(hidden[real].split(128), wanted.split(128), strict=True)
        ]
        scores[real] = torch.cat(found)
        return scores.double().sum(1) / counts

    def _run(self) -> Tensor:
        """The final residual, of all columns or of the fed ones alone."""
        places = position_ids(self._mask).to(self.device)
        columns, last = slice(0, self._total), self._last_mixing()
        span = self._span(columns, places, self._pad_bias(self._mask))
        hidden = self._embed(self._ids.to(self.device), places)
        for number, layer in enumerate(self.net.layers):
            if number > last and not columns.start:  # from here on no token reads another one
                columns = slice(self.width, self._total)
                hidden = hidden[:, columns].contiguous()
            hidden = self._edits.stream("resid_pre", number, hidden, columns)
            attended = self._whole_attention(number, columns)
            if attended is None:
                q, k, v = self._heads(layer, layer.attn_norm(hidden), span)
                k, v, bias = k.transpose(1, 2), v.transpose(1, 2), span.biases[layer.window]
                z = attention(q, k, v, bias, layer.scale, upcast=self.net.upcast)
                if self._edits.changes_heads(number):
                    nobody = torch.zeros(len(q), dtype=torch.long, device=self.device)
                    parts = HeadParts(q, k, v, bias, layer.scale, SharedKeys.empty(), nobody)
                    z = self._edits.heads(number, z, columns, parts)
                attended = attention_output(layer, self._with_held_heads(number, z))
                attended = self._edits.stream("attn_out", number, attended, columns)
            hidden = self._with_mlp(number, layer, hidden, attended, columns)
        return self._edits.stream("resid_pre", len(self.net.layers), hidden, columns)

    def _with_mlp(self, number: int, layer: Layer, hidden: Tensor, attended: Tensor, columns: slice) -> Tensor:
        """The stream behind a block whose attention added `attended`."""
        middle = hidden if self.net.parallel else hidden + attended
        output = self._whole_mlp(number, columns)
        if output is None:
            neurons = self._with_held_neurons(number, self._neurons(layer, middle), columns)
            output = self._edits.stream("mlp_out", number, self._through_down(layer, neurons), columns)
            if self._kept is not None:
                self._kept.mlps.append(output.clone())
            if self.held is not None and self._where is not None:
                chosen = self._where[:, columns] & self.held.mlps[:, number, None]
                values = self.held.values.mlps[number][self.held.source_of, columns]
                output = torch.where(chosen[..., None], values, output)
        return middle + output + (attended if self.net.parallel else 0)

    def _last_mixing(self) -> int:
        """The last layer whose attention is worked out; behind it the fed columns stand for themselves."""
        n_layers = len(self.net.layers)
        return max(
            (n for n in range(n_layers) if not self._skips_attention(n)),
            default=-1,
        )

    def _skips_attention(self, number: int) -> bool:
        held = self._known(number, "attn_out")
        return held is not None and not self._edits.changes_heads(number) and bool(held.heads[:, number].all())

    def _whole_attention(self, number: int, columns: slice) -> Tensor | None:
        """What the attention adds where every row holds all of its heads; None where it has to be worked out."""
        held = self._known(number, "attn_out")
        if held is None or held.outputs is None or not self._skips_attention(number):
            return None
        return held.outputs.attended[number][held.places, columns]

    def _whole_mlp(self, number: int, columns: slice) -> Tensor | None:
        """What the MLP adds where every row holds it; None where it has to be worked out."""
        held = self._known(number, "mlp_out")
        if held is None or held.outputs is None:
            return None
        return held.outputs.mlps[number][held.places, columns] if bool(held.mlps[:, number].all()) else None

    def _known(self, number: int, site: str) -> Held | None:
        """What is held, where outputs are known and no act falls on them."""
        if self.held is None or self.held.outputs is None or self._kept is not None:
            return None
        return None if (site, number) in self._edits.places else self.held

    def _with_held_neurons(self, number: int, neurons: Tensor, columns: slice) -> Tensor:
        if self._kept is not None and self._keep_neurons:
            self._kept.neurons.append(neurons.clone())
        if self.held is None or self._where is None or number not in self.held.neurons:
            return neurons
        chosen = self._where[:, columns, None] & self.held.neurons[number][:, None]
        return torch.where(chosen, self.held.values.neurons[number][self.held.source_of, columns], neurons)

    def _with_held_heads(self, number: int, z: Tensor) -> Tensor:
        if self._kept is not None:
            self._kept.z.append(z.clone())
        if self.held is None or self._where is None:
            return z
        chosen = self._where[:, :, None] & self.held.heads[:, None, number]
        return torch.where(chosen[..., None], self.held.values.z[number][self.held.source_of], z)


def attention_output(layer: Layer, z: Float[Tensor, "row column head d_head"]) -> Float[Tensor, "row column d_model"]:
    """What heads of outputs z add to the stream together."""
    attended = layer.out(z.flatten(2))
    return attended if layer.attn_post_norm is None else layer.attn_post_norm(attended)


@torch.inference_mode()
def held_outputs(task: HeldPass, first: int = 0) -> HeldOutputs:
    """What whole attentions and MLPs add in these rows where all of their nodes are held.

    Args:
        first: the first layer in which anything is held; what comes before it is the rows' own.
        task: rows with their acts, and as `held` the sources of their values and how far they reach; which nodes are
            held does not matter.
    """
    held = task.held
    if held is None or task.where is None:
        raise ValueError("expected a pass that says what is held")
    own = HeldPass(task.lm, task.rows, task.width, task.n_fed, task.acts).record()
    there = task.where[..., None]
    attended, mlps = [], []
    for number, layer in enumerate(task.net.layers):
        z, mlp = own.z[number], own.mlps[number]
        if number >= first:
            z = torch.where(there[..., None], held.values.z[number][held.source_of], z)
            mlp = torch.where(there, held.values.mlps[number][held.source_of], mlp)
        attended.append(attention_output(layer, z))
        mlps.append(mlp)
    return HeldOutputs(attended, mlps)


def _held_columns(held: Held, mask: Tensor, width: int) -> Bool[Tensor, "row column"]:
    """Where nodes are held: real tokens but the first, within reach, where the source has a token."""
    columns = torch.arange(mask.shape[1], device=mask.device)
    real = mask.bool() & (mask.cumsum(1) > 1)
    return real & (columns >= width - held.reach[:, None]) & held.values.real[held.source_of]
