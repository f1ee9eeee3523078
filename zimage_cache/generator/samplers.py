"""The four samplers, all on the same grid of noise levels: sigma = shift(1, 1-1/n, …, 1/n), then 0.

diffusers' own grids differ from solver to solver (Heun shifts twice and ends on a nearly empty step, DPM++ starts
at 0.999, UniPC and DPM++ round the time passed to the model), and only Euler accepts the pipeline's `sigmas`. The
adapters below put each on Euler's grid. LCM, SDE and ancestral solvers draw from the global random state: not
reproducible per seed, so not offered.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from zimage_cache.request import Sampler

_TIMES: Final = 1000
_NEARLY_ONE: Final = 1 - 1e-6  # as in diffusers' own UniPC


def sigmas_of(steps: int) -> list[float]:
    """Return the *steps* noise levels before the shift, from 1 down to 1/steps."""
    # The type is named: transformers changes the default of the whole process while it loads a model.
    return torch.linspace(1, 1 / steps, steps, dtype=torch.float32).tolist()


def scheduler_for(sampler: str, shift: float) -> SchedulerMixin:
    """Build a new scheduler: it keeps state during a picture, which must not affect the next one.

    Its `set_timesteps` takes the unshifted sigmas of `sigmas_of`, as `ZImagePipeline` passes them on.
    """
    return _MAKERS[Sampler(sampler)](shift)


def _grid(sigmas: Sequence[float], shift: float) -> torch.Tensor:
    """Shift the levels towards noise, as Euler does, and append the clean end."""
    levels = torch.tensor(sigmas, dtype=torch.float32)
    return torch.cat([shift * levels / (1 + (shift - 1) * levels), levels.new_zeros(1)])


class _OnTheGrid:
    """Adapter that puts a scheduler on the common grid; mixed in before one of diffusers' multistep schedulers.

    Replaces their `set_timesteps`, which computes another grid and resets state that new schedulers do not have. The
    pipeline also passes the number of steps, which is the length of `sigmas`, and `mu`, which is for shifts that depend
    on the picture's size; both are ignored.
    """

    config: Any

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,  # noqa: ARG002 - see above
        device: torch.device | None = None,
        sigmas: Sequence[float] = (),
        mu: float | None = None,  # noqa: ARG002 - see above
    ) -> None:
        self.sigmas = self._levels(_grid(sigmas, self.config.get("flow_shift") or self.config.shift))
        self.timesteps = (self.sigmas[:-1] * _TIMES).to(device)
        self.num_inference_steps = len(sigmas)

    def _levels(self, grid: torch.Tensor) -> torch.Tensor:
        """Move sigma 1 slightly below 1: these schedulers take the logarithm of 1 - sigma."""
        return grid.clamp(max=_NEARLY_ONE)


class _UniPC(_OnTheGrid, UniPCMultistepScheduler):  # type: ignore[misc]  # diffusers ships no types
    pass


class _DPMpp2M(_OnTheGrid, DPMSolverMultistepScheduler):  # type: ignore[misc]  # diffusers ships no types
    pass


class _Heun(_OnTheGrid, FlowMatchHeunDiscreteScheduler):  # type: ignore[misc]  # diffusers ships no types
    """Heun's method: two evaluations at every level but the first and the last, 2n-1 timesteps in all."""

    prev_derivative = None
    dt = None  # None means: the next evaluation is the first of its pair

    def _levels(self, grid: torch.Tensor) -> torch.Tensor:
        return torch.cat([grid[:1], grid[1:-1].repeat_interleave(2), grid[-1:]])


def _euler(shift: float) -> SchedulerMixin:
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=_TIMES, shift=shift)


def _unipc(shift: float) -> SchedulerMixin:
    return _UniPC(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def _dpmpp_2m(shift: float) -> SchedulerMixin:
    return _DPMpp2M(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def _heun(shift: float) -> SchedulerMixin:
    return _Heun(num_train_timesteps=_TIMES, shift=shift)


_MAKERS: Final[Mapping[Sampler, Callable[[float], SchedulerMixin]]] = MappingProxyType(
    {
        Sampler.EULER: _euler,
        Sampler.UNIPC: _unipc,
        Sampler.DPMPP_2M: _dpmpp_2m,
        Sampler.HEUN: _heun,
    }
)
