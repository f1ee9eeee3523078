"""Several processes that train together: each works on its own batches, and all take the mean of their gradients.

On a CPU, two processes of one thread are faster than one process of two threads.
"""

import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

PATIENCE = timedelta(days=1)  # training may be paused with SIGSTOP


class Group:
    """The processes that train together; a group of one process never waits."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self.first = rank == 0

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()

    def agreed(self, value: float) -> float:
        """Return the value of the first process."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared)

    def average(self, params: list[Tensor], loss: Tensor) -> float:
        """Replace all gradients by their mean over the processes; return the mean loss."""
        if self.size == 1:
            return float(loss)
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in params]
        flat = torch.cat([loss.reshape(1), *(grad.flatten() for grad in grads)])
        dist.all_reduce(flat)
        value, *parts = (flat / self.size).split([1, *(grad.numel() for grad in grads)])
        for param, grad in zip(params, parts, strict=True):
            param.grad = grad.view_as(param)
        return float(value)


def _work(rank: int, size: int, meeting: Path, function: Callable[..., None], *arguments: object) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=size, timeout=PATIENCE)
    function(*arguments, Group(rank, size))
    dist.destroy_process_group()


def together(size: int, meeting: Path, function: Callable[..., None], *arguments: object) -> None:
    """Call `function(*arguments, group)` in `size` processes that meet at a file."""
    if size == 1:
        function(*arguments, Group())
        return
    meeting.unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an orderly exit ends the daemons too
    spawn(_work, (size, meeting.resolve(), function, *arguments), nprocs=size, daemon=True)
