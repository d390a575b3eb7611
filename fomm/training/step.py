"""One step of a training: the losses, their gradients, the optimisers."""

import math
import os
from collections.abc import Iterable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fomm.config import Config
from fomm.engines import warn_if_emulated
from fomm.errors import ConfigError, TrainingError
from fomm.training.dataset import Batch
from fomm.training.distributed import Processes
from fomm.training.losses import ImagePyramid, RandomTransform
from fomm.training.needs import check_points, check_truth, looks_at_pictures
from fomm.training.objective import DiscriminatorObjective, GeneratorObjective
from fomm.training.perceptual import load_perceptual_network, store_in_bfloat16, warn_of_stand_in
from fomm.training.state import Run
from fomm.training.terms import Criteria, Output
from fomm.training.windows import Windows, check_window, draw_windows

Group = tuple[str, ...]  # names of networks


class Outcome(NamedTuple):
    """What tells whether a step went well, on the device."""

    step: int  # its number
    losses: dict[str, Tensor]  # by name, scalars
    norms: dict[Group, Tensor]  # of the gradients of networks that are clipped together, scalars


class Step:
    """One step of all that trains: the losses, their gradients, the optimisers.

    On CUDA the CPU never waits for a step, so that it prepares the next one while the device computes. The
    device itself leaves the weights as they are where a loss or a gradient is not finite. ``check`` tells of
    it. Elsewhere each step checks itself before it changes a weight.

    Args:
        config: with ``train_params``.
        run: what trains.
        processes: that share the batch.
        perceptual: see ``load_perceptual_network``.
        precision: ``"float32"`` or ``"bfloat16"``, of the networks. None: bfloat16 on CUDA, else float32.
        compile: compile the networks with ``torch.compile``.

    Attributes:
        precision: the one that is used.
        perceptual: the network of the perceptual loss; None where that is not weighted.
        generator: the losses of generator and key-point detector, see ``GeneratorObjective``.
        discriminator: those of the discriminator; None where the run has none.

    Raises:
        ConfigError: settings do not fit each other.
        CheckpointError, MissingExtraError: the perceptual network cannot be had.
    """

    def __init__(
        self,
        config: Config,
        run: Run,
        processes: Processes,
        perceptual: str | os.PathLike[str] | None,
        precision: str | None,
        compile: bool,
    ) -> None:
        check_window(config)
        check_truth(config)
        device = processes.device
        self.config, self.run, self.processes = config, run, processes
        weights = run.params.loss_weights
        self.precision = precision or ("bfloat16" if device.type == "cuda" else "float32")
        warn_if_emulated(self.precision, device)
        lower = self.precision == "bfloat16"
        autocast = torch.autocast(device.type, torch.bfloat16) if lower else nullcontext()
        pyramid = ImagePyramid(run.params.scales, config.model_params.common_params.num_channels).to(device)
        self.perceptual = self._load_perceptual(perceptual) if any(weights.perceptual) else None
        if compile:
            for network in (*run.parts.values(), *([self.perceptual] if self.perceptual else [])):
                network.compile()
        criteria = Criteria(weights, pyramid, self.perceptual, autocast)
        self.generator = processes.wrap(
            GeneratorObjective(run.networks, run.params, criteria),
            find_unused_parameters=run.params.true_motion or not looks_at_pictures(weights),
        )
        discriminator = run.networks.discriminator
        self.discriminator = (
            processes.wrap(DiscriminatorObjective(discriminator, criteria)) if discriminator else None
        )
        self._checks_later = all(optimizer.defaults["fused"] for optimizer in run.optimizers.values())
        self._outcomes: list[Outcome] = []  # since the last check

    def _load_perceptual(self, choice: str | os.PathLike[str] | None) -> nn.Module:
        """Return the network of the perceptual loss; each machine downloads it once."""
        with self.processes.local_main_first() if choice == "vgg19" else nullcontext():
            network = load_perceptual_network(choice)
        if choice is None and self.processes.is_main:
            warn_of_stand_in(network, self.run.params.loss_weights.perceptual)
        if self.precision == "bfloat16":
            store_in_bfloat16(network)
        return network.to(self.processes.device)

    def __call__(self, batch: Batch, rng: torch.Generator) -> tuple[dict[str, Tensor], Output | None]:
        """Change the weights once, by the losses on a batch.

        Args:
            batch: this process's share of the pairs.
            rng: of the step's random choices, on the CPU.

        Returns:
            The weighted losses by name, scalars on the device, means over the processes; and what was
            painted, None where no weighted loss looks at painted pictures.

        Raises:
            ConfigError: no weighted loss can be computed on these data, or trains anything.
            InputError: the data have other true key points than the networks.
            TrainingError: as ``check``. On CUDA only ``check`` itself raises it.
        """
        discriminator = self.run.networks.discriminator
        if discriminator is not None:
            discriminator.requires_grad_(False)
        check_points(self.run.params, batch, self.config.model_params.common_params.num_kp)
        losses, output = self.generator(batch, *self._draw(batch, rng))
        if not losses:
            raise ConfigError(
                "none of the weighted losses can be computed on these data: some need true key points; "
                "weight others in train_params.loss_weights, or draw data with `fomm data heads`"
            )
        groups: list[Group] = [("generator", "kp_detector")]  # networks whose gradients are clipped together
        values = self._backward(losses, groups[0])
        if self.discriminator is not None and discriminator is not None and output is not None:
            discriminator.requires_grad_("discriminator" in self.run.rates)
            groups.append(("discriminator",))
            values |= self._backward(self.discriminator(output), groups[1])
        norms = {group: self._measure_gradients(group) for group in groups if self._find_trained(group)}
        outcome = Outcome(self.run.step, values, norms)
        self._outcomes.append(outcome)
        if not self._checks_later:
            self.check()
        self._update_weights(outcome)
        return values, output

    def check(self) -> None:
        """Check the steps since the last check: wait until the device has made them.

        Raises:
            TrainingError: a loss or a gradient was not finite in one of the processes; no weight was changed
                by it. All processes see that, because losses and gradients are averaged over them.
        """
        outcomes, self._outcomes = self._outcomes, []
        for step, losses, norms in outcomes:
            for name, value in zip(losses, torch.stack(list(losses.values())).tolist(), strict=True):
                if not math.isfinite(value):
                    raise TrainingError(
                        f"step {step}: the loss {name} is {value}; no weight was changed by it. "
                        "Lower the learning rate, or look for broken clips"
                    )
            suspects = [name for group, norm in norms.items() if not norm.isfinite() for name in group]
            if suspects:
                # the gradients may be those of a later step, which do not tell
                broken = [n for n in suspects if not _all_finite(self._collect_gradients(n).values())]
                raise TrainingError(
                    f"step {step}: the gradients of {' and '.join(broken or suspects)} are not finite; no "
                    "weight was changed by them. Lower the learning rate, or look for broken clips"
                )

    def _draw(
        self, batch: Batch, rng: torch.Generator
    ) -> tuple[RandomTransform | None, Windows | None, Tensor | None]:
        """Draw what ``GeneratorObjective`` takes beside the batch; another order would give other numbers."""
        params, size = self.run.params, len(batch.driving)
        transform = draw_transform(self.config, batch, rng)
        windows = draw_windows(self.config, batch.truth_driving and batch.truth_driving.value, size, rng)
        subset = draw_subset(params.found_motion if params.true_motion else params.transfer, size, rng)
        return transform, windows, subset

    def _backward(self, losses: dict[str, Tensor], names: Group) -> dict[str, Tensor]:
        """Compute the gradients of the sum of the losses for the named networks, and return the losses.

        Raises:
            ConfigError: no loss depends on a weight that trains.
        """
        stacked = torch.stack(list(losses.values()))
        values = dict(zip(losses, self.processes.mean(stacked.detach()).unbind(), strict=True))
        trained = self._find_trained(names)
        if not trained:
            return values
        if not stacked.requires_grad:
            raise ConfigError(
                f"none of the weighted losses ({', '.join(losses)}) depends on a network that trains "
                f"({', '.join(self.run.rates)}); change a learning rate in train_params, or weight other "
                "losses in train_params.loss_weights"
            )
        for name in trained:
            self.run.optimizers[name].zero_grad(set_to_none=True)
        stacked.sum().backward()
        return values

    def _find_trained(self, names: Group) -> list[str]:
        """Return those of the named networks that train."""
        return [name for name in names if name in self.run.optimizers]

    def _measure_gradients(self, group: Group) -> Tensor:
        """Return the norm of all gradients of some networks, a scalar."""
        return nn.utils.get_total_norm(list(self._collect_gradients(*group).values()))

    def _update_weights(self, outcome: Outcome) -> None:
        """Clip the gradients and step the optimisers.

        Where nobody has looked at the outcome yet, the device leaves the weights alone if it is not finite.
        """
        for group, norm in outcome.norms.items():
            if self.run.params.clip_norm is not None:
                nn.utils.clip_grads_with_norm_(
                    self._collect_gradients(*group), self.run.params.clip_norm, norm
                )
        trained = [name for group in outcome.norms for name in self._find_trained(group)]
        optimizers = [self.run.optimizers[name] for name in trained]
        if self._checks_later:
            numbers = torch.stack([*outcome.losses.values(), *outcome.norms.values()])
            broken = numbers.isfinite().all().logical_not().float()
            for optimizer in optimizers:
                optimizer.found_inf = broken  # type: ignore[attr-defined]  # as ``torch.amp.GradScaler`` does
        for optimizer in optimizers:
            optimizer.step()

    def _collect_gradients(self, *names: str) -> dict[nn.Parameter, Tensor]:
        """Return the weights of the named networks that have a gradient, each with it."""
        networks = [self.run.parts[name] for name in names if name in self.run.optimizers]
        weights = [weight for network in networks for weight in network.parameters()]
        return {weight: weight.grad for weight in weights if weight.grad is not None}


def draw_transform(config: Config, batch: Batch, rng: torch.Generator) -> RandomTransform | None:
    """Draw the transform of the equivariance terms; None where they are not weighted."""
    params = config.train_params
    assert params is not None
    weights, shape = params.loss_weights, params.transform_params
    if not (weights.equivariance_value or weights.equivariance_jacobian):
        return None
    return RandomTransform.sample(
        batch.source.shape[0],
        sigma_affine=shape.sigma_affine,
        sigma_tps=shape.sigma_tps or 0.0,
        points_tps=shape.points_tps or 2,
        rng=rng,
        device=batch.source.device,
        align_corners=config.model_params.generator_params.align_corners,
    )


def draw_subset(share: float, batch: int, rng: torch.Generator) -> Tensor | None:
    """Draw which of B pairs belong to a share (0 to 1) of them: B bools on the CPU; None where it is 0."""
    return torch.rand(batch, generator=rng) < share if share else None


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
