"""Muon: momentum whose matrices are made orthogonal by a Newton-Schulz iteration before each step.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks" (https://kellerjordan.github.io/posts/muon).
Matrices of one shape go through the iteration as one batch.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(batch: Tensor, steps: int = 5) -> Tensor:
    """Move the singular values of each matrix of a batch close to 1."""
    a, b, c = COEFFICIENTS
    tall = batch.shape[1] > batch.shape[2]
    x = batch.mT if tall else batch
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """For weight matrices only, and kernels of convolutions as matrices; everything else goes to AdamW."""

    def __init__(
        self, params: Iterable[Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.02
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.shapes: dict[torch.Size, list[Tensor]] = {}
        for param in self.param_groups[0]["params"]:
            self.shapes.setdefault(param.shape, []).append(param)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure, and no loss returned
        """Take one step with Nesterov momentum."""
        group = self.param_groups[0]
        for shape, params in self.shapes.items():
            grads = torch.stack([param.grad for param in params if param.grad is not None])
            key = params[0]
            average = self.state[key].setdefault("average", torch.zeros_like(grads))
            average.lerp_(grads, 1 - group["momentum"])
            update = orthogonal(grads.lerp(average, group["momentum"]).flatten(2)).view_as(grads)
            stretch = max(1, shape[0] / shape[1:].numel()) ** 0.5
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(params, list(update.unbind()), alpha=-group["lr"] * stretch)
