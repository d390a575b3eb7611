"""One process or several: who am I, and what do all of us think.

``torchrun`` says how many processes there are by environment variables; without it there is one, and nothing
here does anything. On CUDA each process takes the device of its number on its machine.
"""

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fomm.errors import InputError

_PATIENCE = {"nccl": 600, "gloo": 120}  # seconds for what the processes do together
_GRACE = 15  # seconds more until a process that does not find the others is ended


def rank() -> int:
    """The number of this process among those of a training, from 0."""
    return int(os.environ.get("RANK", 0))


class Processes:
    """The processes of a training, from the view of one of them. A context manager: it leaves the group.

    Attributes:
        rank, count: number of this one, from 0, and of all.
        device: where this one computes.
    """

    def __init__(self, device: str | torch.device | None = None) -> None:
        self.rank, self.count = rank(), int(os.environ.get("WORLD_SIZE", 1))
        self._first_here = int(os.environ.get("LOCAL_RANK", self.rank)) == 0
        self.device = _device_of_this_process(device, self.count)
        self._joined = self.count > 1 and not dist.is_initialized()
        if self._joined:
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            _find_together("nccl" if self.device.type == "cuda" else "gloo")

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._joined:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and logs."""
        return self.rank == 0

    @contextmanager
    def one_before_the_others(self) -> Iterator[None]:
        """A block that one process of each machine goes through while the others wait: it may download."""
        if self.count == 1:
            yield
            return
        # a group of its own: that of the training does not wait for so long
        group = dist.new_group(backend="gloo", timeout=timedelta(hours=2))
        try:
            if not self._first_here:
                dist.barrier(group)
            try:
                yield
            finally:
                if self._first_here:
                    dist.barrier(group)
        finally:
            dist.destroy_process_group(group)

    def share(self, objective: nn.Module, *, skips_weights: bool = False) -> nn.Module:
        """The module, its gradients averaged over the processes.

        Args:
            skips_weights: some weights that train get no gradient in a step.
        """
        if self.count == 1 or not any(p.requires_grad for p in objective.parameters()):
            return objective
        return DistributedDataParallel(objective, find_unused_parameters=skips_weights)

    def synchronise_norms(self, network: nn.Module) -> nn.Module:
        """Batch norms that see the batches of all processes; on a CPU each sees its own."""
        if self.count == 1 or self.device.type != "cuda":
            return network
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes, the same in each."""
        if self.count > 1:
            values = values.to(self.device, copy=True)  # NCCL takes nothing from the CPU
            dist.all_reduce(values)
            values /= self.count
        return values


def _find_together(backend: str) -> None:
    """Joins the group.

    torchrun keeps one store for all of its starts: processes that are started again would read there where
    those before them listened, and wait for them. So what each start writes has a name of its own. (Several
    machines need not agree on the number of the start, so there it has none.) Where it takes too long all the
    same, also in those waits of Gloo that do not look at the time, this process is ended, for torchrun to
    start all of them once more.
    """
    patience = _PATIENCE[backend]
    timeout = timedelta(seconds=patience)
    faulthandler.dump_traceback_later(patience + _GRACE, exit=True)
    try:
        store, number, count = next(dist.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
        if os.environ.get("GROUP_WORLD_SIZE") == "1":
            start = f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}"
            store = dist.PrefixStore(start, store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=timeout)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _device_of_this_process(device: str | torch.device | None, count: int) -> torch.device:
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type != "cuda" or count == 1:
        return chosen
    local = int(os.environ.get("LOCAL_RANK", 0))
    if local >= torch.cuda.device_count():
        raise InputError(
            f"process {local} of this machine has no device: there are {torch.cuda.device_count()} CUDA "
            "devices; start as many processes (--nproc-per-node) as there are devices"
        )
    return torch.device("cuda", local)
