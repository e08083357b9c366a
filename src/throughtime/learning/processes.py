"""Many processes that learn as one: each takes its share of every batch, and the gradients are summed.

    g = (Σ_r w_r g_r) / (Σ_r w_r)      w_r: what the mean loss of process r is the mean of, g_r: its gradient

This is the gradient of the whole batch, however unevenly it is shared. Every process walks the same list of batches, also where
its own share of one is empty, so that none waits for another's missing batch.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, distributed, nn

from throughtime.data.batches import Window
from throughtime.models.states import State, each, parts


def launched() -> Any | None:
    """The `Fabric` of the processes that torchrun has started, this being one of them; None where it has started none.

    Raises: ImportError: the package lightning-fabric is missing.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    try:
        from lightning_fabric import Fabric
    except ModuleNotFoundError as error:
        raise ImportError(
            "torchrun: expected the package lightning-fabric, which is not installed: pip install 'throughtime[scale]'"
        ) from error
    _meet()
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    nodes = int(os.environ["WORLD_SIZE"]) // here
    fabric = Fabric(accelerator="cpu", devices=here, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return fabric


def _meet() -> None:
    """Start the process group under names of this attempt's own.

    torchrun keeps one store of addresses for all attempts; a worker started anew could read those of the dead ones there, and
    wait for them for ever.
    """
    attempt = f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    shared = distributed.TCPStore(address, port, is_master=False)  # type: ignore[reportPrivateImportUsage]
    store = distributed.PrefixStore(attempt, shared)  # type: ignore[reportPrivateImportUsage]
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)


class Team:
    """The processes of one training; with `fabric` None, this one alone.

    Args: fabric: a launched `lightning_fabric.Fabric`, which knows the others.
    """

    def __init__(self, fabric: Any | None = None) -> None:
        self._fabric = fabric
        self.size: int = 1 if fabric is None else fabric.world_size
        self.rank: int = 0 if fabric is None else fabric.global_rank

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, window: Window) -> Window:
        """The pieces of `window` that this process computes: those of its own lanes, so that carried states stay with it."""
        if self.size == 1:
            return window
        own = window.lanes % self.size == self.rank
        return Window(window.lanes[own], window.rows[own], window.starts[own], window.lengths[own])

    def sum(self, values: Tensor) -> Tensor:
        """The sum of all processes' `values`, which may be overwritten."""
        return values if self._fabric is None or self.size == 1 else self._fabric.all_reduce(values, reduce_op="sum")

    def wait(self) -> None:
        """Until all are here."""
        if self._fabric is not None:
            self._fabric.barrier()

    def check_alike(self, name: str, *numbers: int) -> None:
        """Check that all processes have the same numbers. Raises: ValueError: names what they are of."""
        own = torch.tensor(numbers, dtype=torch.float64)
        if not torch.equal(self.sum(own.clone()), own * self.size):
            raise ValueError(f"{name}: expected the same one on all processes, found others than {numbers} here")

    def combine(self, parameters: list[nn.Parameter], weight: float, numbers: list[float]) -> list[float]:
        """Give every parameter the gradient of the whole batch, and sum `numbers` over the processes, in one exchange.

        Args:
            parameters: with the gradient of this process's mean loss; without one where its share is empty.
            weight: w_r, what that mean is over: instances, or steps that count, or their weights.
            numbers: exact in the parameters' dtype, or good enough.
        """
        if self.size == 1:
            return numbers
        zeros = (torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
        gradient = torch.cat([g.flatten() for g in zeros]).mul_(weight)
        flat = self.sum(torch.cat([gradient, gradient.new_tensor([weight, *numbers])]))
        gradient, (total, *sums) = flat[: len(gradient)], flat[len(gradient) :].tolist()
        gradient /= total or 1.0
        for p, g in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
            p.grad = g.view_as(p).clone()
        return sums

    def gather_lanes(self, states: State) -> State:
        """The states of all lanes, each from the process that computes it."""
        if self.size == 1:
            return states
        own = (torch.arange(parts(states)[0].shape[-2]) % self.size == self.rank).unsqueeze(-1)
        return each(lambda part: self.sum(part.where(own, 0.0)), states)


def leave() -> None:
    """End what `launched` began: a process that exits while the exchange's threads still run may abort."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
