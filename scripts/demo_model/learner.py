"""The networks that are trained, their optimizers and their averaged copies."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from muon import Muon
from network import BF16, Batched, new_text_encoder, new_transformer
from torch import Tensor, nn

MUON_RATE, ADAM_RATE, TEXT_RATE, WORD_RATE = 0.015, 2e-3, 1e-3, 4e-3
DECAY = 0.997  # of the averaged weights, a step


class Learner:
    """Transformer and text encoder, with one `step` for all their optimizers.

    The matrices of the transformer go to Muon, all else to AdamW. The text encoder does not go to Muon: it has no norm
    behind it, its states grew a thousandfold, and in the end all words looked alike to the transformer.
    """

    def __init__(self, vocabulary: int, device: torch.device, *, compiled: bool) -> None:
        torch.set_float32_matmul_precision("high")
        self.transformer = new_transformer().to(device)
        self.text_encoder = new_text_encoder(vocabulary)
        nn.Module.to(self.text_encoder, device)  # in place; the declared type of its own `to` takes no device
        self.networks = nn.ModuleList((self.transformer, self.text_encoder))
        self.averaged = copy.deepcopy(self.networks).requires_grad_(requires_grad=False).eval()
        self.model = Batched(self.transformer, self.text_encoder, compiled=compiled)
        self.steps = self.seen = 0
        self._name()
        self._optimize()

    def _name(self) -> None:
        """List what is trained: all but the last layer of the text encoder, which the pipeline never uses."""
        unused = tuple(f"1.{name}" for name in (f"layers.{len(self.text_encoder.layers) - 1}.", "norm."))
        self.named = {n: p for n, p in self.networks.named_parameters() if not n.startswith(unused)}
        copies = dict(self.averaged.named_parameters())
        self.params: list[Tensor] = [*self.named.values()]
        self.copies: list[Tensor] = [copies[name] for name in self.named]

    def _optimize(self) -> None:
        """Make the optimizers anew."""
        kinds: dict[str, list[nn.Parameter]] = {"matrix": [], "text": [], "words": [], "rest": []}
        for name, param in self.named.items():
            kinds[_kind(name, param)].append(param)
        rates = {"text": TEXT_RATE, "words": WORD_RATE, "rest": ADAM_RATE}
        groups = [{"params": kinds[kind], "lr": rate} for kind, rate in rates.items()]
        self.muon = Muon(kinds["matrix"], lr=MUON_RATE)
        self.adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
        self.rates = [MUON_RATE, *rates.values()]
        self.clipped = kinds["rest"] + kinds["text"]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.networks.zero_grad(set_to_none=True)

    def step(self, rate: float, seen: int) -> None:
        """Take one step with a share `rate` of the learning rates, and move the averages."""
        for group, base in zip(self.muon.param_groups + self.adam.param_groups, self.rates, strict=True):
            group["lr"] = base * rate
        nn.utils.clip_grad_norm_(self.clipped, 1.0, foreach=True)
        self.muon.step()
        self.adam.step()
        self.steps, self.seen = self.steps + 1, self.seen + seen
        with torch.no_grad():
            keep = min(DECAY, (self.steps + 1) / (self.steps + 20))
            torch._foreach_lerp_(self.copies, self.params, 1 - keep)

    @torch.no_grad()
    def back_to_average(self) -> None:
        """Replace the weights by their averages."""
        for param, average in zip(self.params, self.copies, strict=True):
            param.copy_(average)
        self._optimize()

    def halved(self, *others: nn.Module) -> list[nn.Module]:
        """Return copies of the averaged networks, and of others, in bfloat16 on the CPU."""
        return [copy.deepcopy(network).to("cpu", BF16) for network in (*self.averaged, *others)]

    def save(self, path: Path) -> None:
        """Write all that is needed to go on; averages and momenta in bfloat16."""
        state = {
            "weights": {name: param.detach().cpu() for name, param in self.named.items()},
            "averages": {name: c.to("cpu", BF16) for name, c in zip(self.named, self.copies, strict=True)},
            "muon": _halved(self.muon.state_dict()),
            "adam": _halved(self.adam.state_dict()),
            "steps": self.steps,
            "seen": self.seen,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Go on from a saved state; one without optimizers starts them anew."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        averages = state.get("averages", state["weights"])
        for (name, param), average in zip(self.named.items(), self.copies, strict=True):
            param.copy_(state["weights"][name])
            average.copy_(averages[name])
        if "adam" in state:
            self.muon.load_state_dict(state["muon"])
            self.adam.load_state_dict(state["adam"])
        self.steps, self.seen = state["steps"], state["seen"]


def _kind(name: str, param: nn.Parameter) -> str:
    """Choose the optimizer of a parameter."""
    if "embed_tokens" in name:
        return "words"
    if name.startswith("1."):
        return "text"
    return "matrix" if param.ndim == 2 and ("attention." in name or "feed_forward." in name) else "rest"  # noqa: PLR2004


def _halved(value: object) -> object:
    """Turn the tensors in nested dictionaries into bfloat16, but for single numbers."""
    if isinstance(value, torch.Tensor):
        return value.to("cpu", BF16) if value.is_floating_point() and value.numel() > 1 else value
    return {key: _halved(v) for key, v in value.items()} if isinstance(value, Mapping) else value
