"""The processes of a training, one or several: their ranks, devices, and what they compute together.

``torchrun`` tells each process by environment variables how many there are. Without it there is one, and
nothing here does anything. On CUDA each process takes the device that has its number on its machine.
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

_TIMEOUTS = {"nccl": 600.0, "gloo": 120.0}  # seconds that the processes wait for each other
_GRACE = 15.0  # seconds more, at most, until a process that does not find the others is ended


def get_rank() -> int:
    """Return the number of this process among those of a training, from 0."""
    return int(os.environ.get("RANK", 0))


class Processes:
    """The processes of a training, as one of them sees them. A context manager: its end leaves the group.

    Args:
        device: where this process computes. None: CUDA where there is one, else the CPU. Of several processes
            on CUDA each takes its own device.
        timeout: seconds that the processes wait for each other. None: 600 on CUDA, 120 on the CPU.

    Attributes:
        rank: the number of this process, from 0.
        world_size: how many processes there are.
        device: where this process computes.

    Raises:
        InputError: there are more processes on this machine than CUDA devices.
    """

    def __init__(self, device: str | torch.device | None = None, *, timeout: float | None = None) -> None:
        self.rank, self.world_size = get_rank(), int(os.environ.get("WORLD_SIZE", 1))
        self._is_local_main = int(os.environ.get("LOCAL_RANK", self.rank)) == 0
        self.device = _resolve_device(device, self.world_size)
        self._joined = self.world_size > 1 and not dist.is_initialized()
        if self._joined:
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            _join_group(backend, _TIMEOUTS[backend] if timeout is None else timeout)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._joined:
            dist.destroy_process_group()

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and logs."""
        return self.rank == 0

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Let one process of each machine run the block while the others wait: it may download for all."""
        if self.world_size == 1:
            yield
            return
        # a group of its own, because that of the training does not wait for so long
        group = dist.new_group(backend="gloo", timeout=timedelta(hours=2))
        try:
            if not self._is_local_main:
                dist.barrier(group)
            try:
                yield
            finally:
                if self._is_local_main:
                    dist.barrier(group)
        finally:
            dist.destroy_process_group(group)

    def wrap(self, objective: nn.Module, *, find_unused_parameters: bool = False) -> nn.Module:
        """Return the module, wrapped so that its gradients are averaged over the processes.

        Args:
            objective: its ``forward`` computes losses.
            find_unused_parameters: in some steps, weights that train get no gradient.
        """
        if self.world_size == 1 or not any(p.requires_grad for p in objective.parameters()):
            return objective
        return DistributedDataParallel(objective, find_unused_parameters=find_unused_parameters)

    def synchronise_norms(self, network: nn.Module) -> nn.Module:
        """Make batch norms see the batches of all processes; on the CPU each process normalises its own."""
        if self.world_size == 1 or self.device.type != "cuda":
            return network
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the processes, the same in each; ``values`` may be of any shape."""
        if self.world_size > 1:
            values = values.to(self.device, copy=True)  # NCCL takes nothing from the CPU
            dist.all_reduce(values)
            values /= self.world_size
        return values


def _join_group(backend: str, seconds: float) -> None:
    """Join the group of the processes, or end this process if that takes much longer than ``seconds``.

    torchrun keeps one store of addresses for all of its starts. Processes that are started again would find
    the addresses of those before them there, and wait for processes that are gone. So each start writes
    under a prefix of its own. Several machines need not agree on the number of the start, so there the
    prefix is left out.

    Some waits of Gloo ignore the timeout. A timer therefore ends this process, and torchrun starts all of
    them once more.
    """
    timeout = timedelta(seconds=seconds)
    faulthandler.dump_traceback_later(seconds + min(_GRACE, seconds), exit=True)
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
        if os.environ.get("GROUP_WORLD_SIZE") == "1":
            start = f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}"
            store = dist.PrefixStore(start, store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _resolve_device(device: str | torch.device | None, world_size: int) -> torch.device:
    """Return the device of this process."""
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type != "cuda" or world_size == 1:
        return chosen
    local = int(os.environ.get("LOCAL_RANK", 0))
    if local >= torch.cuda.device_count():
        raise InputError(
            f"process {local} of this machine has no device: there are {torch.cuda.device_count()} CUDA "
            "devices; start as many processes (--nproc-per-node) as there are devices"
        )
    return torch.device("cuda", local)
