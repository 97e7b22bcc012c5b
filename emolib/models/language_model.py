"""A language model in memory: TransformerLens' bridge (whose hook points the interventions use), the tokenizer, the
weights as the engine reads them, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from emolib.base.config import ModelSpec
from emolib.base.errors import UserError, one_line, shown
from emolib.models.architectures import blueprint_of
from emolib.models.blueprint import Blueprint
from emolib.models.chat import in_chat_format
from emolib.models.limits import Limits, check_special_tokens
from emolib.models.silence import quiet
from emolib.models.workspace import Workspace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FEW = (7, 11, 13, 17)  # tokens that show whether two networks compute the same


@dataclass
class WorkedOut:
    """What is worked out about one model in memory once, or kept from call to call; no part of what the model is.

    Attributes:
        batching_checked: the routes (native: True, bridge: False) whose padded batches were held against single texts.
        nll_limit: the mean token NLL above which a text counts as broken, None before it was asked for.
        workspace: memory that one batch after the other uses, on the CPU.
        bridge_sites: the shape of what every (site, layer) of the bridge gives for a small batch, in the order in which
            the model gets there; None before it was looked at.
        warned_of_length: whether the caller was told that a text is longer than those that the model was trained on.
    """

    batching_checked: set[bool] = field(default_factory=set)
    nll_limit: float | None = None
    workspace: Workspace = field(default_factory=Workspace)
    bridge_sites: dict[tuple[str, int], tuple[int, ...]] | None = None
    warned_of_length: bool = False


@dataclass(frozen=True, repr=False)
class LanguageModel:
    """A model ready for extraction and generation.

    Attributes:
        bridge: transformer_lens' `TransformerBridge`; `bridge.original_model` is the Hugging Face model.
        tokenizer: pads on the left; its pad token is set.
        spec: name, id and dimensions.
        blueprint: the weights as the generation engine reads them; None for an architecture that it does not know,
            which then runs through the bridge.
        revision: the commit that was resolved, a hash of the local weights, or `seed<n>` for random weights.
        worked_out: begins empty, also in a copy by `dataclasses.replace`, which may be another model.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> lm.spec.name, lm.d_head, lm.identity["dtype"]
    ('smollm2_135m', 64, 'float32')
    >>> lm
    LanguageModel(smollm2_135m, 30 layers, d_model 576, 9 heads (3 KV), float32 on cpu, revision b179c9523d0e)
    """

    bridge: TransformerBridge
    tokenizer: PreTrainedTokenizerBase
    spec: ModelSpec
    revision: str
    device: torch.device
    dtype: torch.dtype
    blueprint: Blueprint | None = None
    worked_out: WorkedOut = field(default_factory=WorkedOut, init=False, compare=False)

    def __repr__(self) -> str:
        """One line: a notebook shows what its last line gives, and the parts of a model fill pages."""
        dtype = str(self.dtype).removeprefix("torch.")
        size = f"{self.n_layers} layers, d_model {self.d_model}, {self.n_heads} heads ({self.n_kv_heads} KV)"
        return f"LanguageModel({self.spec.name}, {size}, {dtype} on {self.device}, revision {self.revision[:12]})"

    @property
    def native(self) -> Blueprint:
        """The blueprint, where the caller has seen to it that there is one."""
        assert self.blueprint is not None, f"{self.spec.name} runs through its own code"
        return self.blueprint

    @property
    def n_layers(self) -> int:
        return self.spec.n_layers

    @property
    def d_model(self) -> int:
        return self.spec.d_model

    @property
    def n_heads(self) -> int:
        """Query heads per layer."""
        return self.spec.n_heads

    @property
    def n_kv_heads(self) -> int:
        """Heads that keys and values have; fewer than query heads under grouped-query attention."""
        return self.spec.n_kv_heads

    @property
    def d_head(self) -> int:
        return getattr(self.network.config, "head_dim", None) or self.d_model // self.n_heads

    @property
    def network(self) -> PreTrainedModel:
        """The wrapped Hugging Face model; the bridge's hook points fire when it runs."""
        return self.bridge.original_model

    @property
    def identity(self) -> dict[str, str]:
        """What a result depends on; part of every manifest."""
        return {
            "model": self.spec.name,
            "revision": self.revision,
            "dtype": str(self.dtype).removeprefix("torch."),
            "quantization": self.spec.quantization,
        }

    @property
    def pad_id(self) -> int:
        """The token that stands on padding; which one it is means nothing, since padding is masked everywhere."""
        given = self.tokenizer.pad_token_id
        return 0 if given is None else given

    @cached_property
    def limits(self) -> Limits:
        """The ids and positions that the model has."""
        return Limits.of(self.network)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end a text."""
        configured = self.network.generation_config.eos_token_id
        ids = configured if isinstance(configured, list) else [configured, self.tokenizer.eos_token_id]
        return frozenset(i for i in ids if i is not None)

    def in_chat_format(self, content: str) -> str:
        """The model's own chat format around one message of the user, up to where the answer begins.

        Raises:
            UserError: the tokenizer has no chat format, or one that does not work; the content is no text.
        """
        return in_chat_format(self.tokenizer, self.spec.name, content)

    def describe(self) -> str:
        """One line: name, id, revision, kind of weights and number type."""
        weights = "seeded random weights" if self.spec.random_weights else "pretrained weights"
        return f"{self.spec.name} ({self.spec.hub_id}, {self.revision[:12]}, {weights}, {self.identity['dtype']})"


def checked_model(lm: object) -> LanguageModel:
    """The model, if it is one that `load_model` gives; where every public function begins that takes one.

    Raises:
        UserError: anything else, for example a model's name; a tokenizer that was given marks of its own since.
    """
    told = f"load it first, with emolib.load_model({shown(lm)})" if isinstance(lm, str) else "it comes from load_model"
    if not isinstance(lm, LanguageModel):
        raise UserError(f"expected a language model as the first argument, got {type(lm).__name__}; {told}")
    check_special_tokens(lm.network, lm.tokenizer, lm.spec.name)
    return lm


def wrap(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    spec: ModelSpec,
    revision: str,
    device: torch.device | str = "cpu",
) -> LanguageModel:
    """A `LanguageModel` around a Hugging Face model that is already in memory; of a multimodal one, its text part."""
    from transformer_lens.model_bridge import TransformerBridge

    place = torch.device(device)
    network = _text_part(network).to(place).eval().requires_grad_(False)
    if not network.config.architectures:  # a model built from its configuration alone; the bridge goes by this name
        network.config.architectures = [type(network).__name__]
    check_special_tokens(network, tokenizer, spec.name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    marks = {name: getattr(tokenizer, name) for name in ("pad_token", "bos_token", "eos_token")}
    blueprint = blueprint_of(network)
    plain = _few_logits(network)
    try:
        with quiet():
            bridge = TransformerBridge.boot_transformers(
                spec.hub_id, hf_model=network, tokenizer=tokenizer, device=place, dtype=network.dtype
            )
    except (ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise UserError(
            f"expected an architecture that TransformerLens' bridge knows, {shown(spec.name)} is a "
            f"{type(network).__name__} ({one_line(error)[:120]}); choose another model"
        ) from error
    for name, token in marks.items():
        if getattr(tokenizer, name) != token:  # the bridge gives a tokenizer the marks that it lacks
            setattr(tokenizer, name, token)
    _check_unchanged(plain, network, spec.name)
    tokenizer.padding_side = "left"
    return LanguageModel(bridge, tokenizer, spec, revision, place, network.dtype, blueprint)


def _few_logits(network: PreTrainedModel) -> Tensor | None:
    """The last logits of a few tokens, by the network's own code as it is now; None where that does not run."""
    vocabulary = network.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([[token % vocabulary for token in FEW]], device=network.device)
    try:
        with torch.inference_mode():
            return network(input_ids=ids, use_cache=False).logits[0, -1].float()
    except Exception:  # a foreign network's code may fail in any way, which is told where it is used
        return None


def logits_apart(found: Tensor, expected: Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """How far two computations of the same logits lie apart, and how far an order of sums may put them: the largest
    difference, in standard deviations of the expected ones.

    Args:
        found, expected: float32, of one shape `[..., vocabulary]`.
        dtype: of the weights; in 16 bits an order of sums matters more.
    """
    return float(
        (found - expected).abs().max() / expected.std().clamp_min(1e-6)
    ), 1e-2 if dtype == torch.float32 else 0.5


def _check_unchanged(plain: Tensor | None, network: PreTrainedModel, name: str) -> None:
    """The bridge puts its own attention into the network; options that it does not read would change every number.

    Weights that are not finite, and a network that no longer runs, are told where they are met.
    """
    bridged = _few_logits(network)
    if plain is None or bridged is None or not plain.isfinite().all():
        return
    error, allowed = logits_apart(bridged, plain, network.dtype)
    if not error <= allowed:
        raise UserError(
            f"expected TransformerLens' bridge to leave what {shown(name)} computes as it is, its logits differ by "
            f"{error:.2g} of their spread: config.json has an option that the bridge does not read; choose another "
            "model"
        )


def _text_part(network: PreTrainedModel) -> PreTrainedModel:
    """The network that reads text alone, on the same weights; a network without other parts comes back as it is.

    The bridge would look for a multimodal model's image processor, on the hub and through pip.
    """
    text = network.config.get_text_config()
    if text is network.config or not hasattr(network.model, "language_model"):
        return network
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        alone = AutoModelForCausalLM.from_config(text, dtype=network.dtype, attn_implementation="eager")
    alone.model, alone.lm_head = network.model.language_model, network.lm_head
    alone.generation_config = network.generation_config
    return alone
