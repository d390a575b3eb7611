"""One step of a training: the losses, their gradients, the optimisers."""

import math
import os
from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from fomm.config import Config
from fomm.engines import warn_if_emulated
from fomm.errors import ConfigError, TrainingError
from fomm.training.dataset import Batch
from fomm.training.distributed import Processes
from fomm.training.losses import ImagePyramid, RandomTransform
from fomm.training.needs import check_points, check_truth, looks_at_pictures
from fomm.training.objective import (
    Criteria,
    DiscriminatorObjective,
    GeneratorObjective,
    Output,
)
from fomm.training.perceptual import perceptual_network, say_stand_in
from fomm.training.state import Run
from fomm.training.windows import check_window, draw_windows

Group = tuple[str, ...]  # names of networks


def choose_pairs(share: float, batch: int, chance: torch.Generator) -> torch.Tensor | None:
    """That share of B pairs by chance: B bools on the CPU; None where it is 0."""
    return torch.rand(batch, generator=chance) < share if share else None


class Step:
    """One step of all that trains: the losses, their gradients, the optimisers."""

    def __init__(
        self,
        config: Config,
        run: Run,
        processes: Processes,
        perceptual: str | os.PathLike | None,
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
        low = torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        pyramid = ImagePyramid(run.params.scales, config.model_params.common_params.num_channels).to(device)
        self.judge = self._find_judge(perceptual) if any(weights.perceptual) else None
        if compile:
            for network in (*run.parts.values(), *([self.judge] if self.judge else [])):
                network.compile()
        criteria = Criteria(weights, pyramid, self.judge, low)
        self.generator = processes.share(
            GeneratorObjective(run.networks, run.params, criteria),
            skips_weights=run.params.true_motion or not looks_at_pictures(weights),
        )
        discriminator = run.networks.discriminator
        self.discriminator = (
            processes.share(DiscriminatorObjective(discriminator, criteria)) if discriminator else None
        )

    def _find_judge(self, choice: str | os.PathLike | None) -> nn.Module:
        """The network of the perceptual loss; what is downloaded for it is so once on each machine."""
        with self.processes.one_before_the_others() if choice == "vgg19" else nullcontext():
            judge = perceptual_network(choice)
        if choice is None and self.processes.first:
            say_stand_in(judge, self.run.params.loss_weights.perceptual)
        return judge.to(self.processes.device)

    def means(self) -> dict[str, str | None]:
        """What decides the numbers beside the configuration."""
        judge = type(self.judge).__name__ if self.judge else None
        return {"precision": self.precision, "perceptual": judge}

    def __call__(self, batch: Batch, chance: torch.Generator) -> tuple[dict[str, float], Output | None]:
        """Returns the weighted losses, means over the processes, and what was painted."""
        discriminator = self.run.networks.discriminator
        if discriminator is not None:
            discriminator.requires_grad_(False)
        params = self.run.params
        check_points(params, batch, self.config.model_params.common_params.num_kp)
        transform = draw_transform(self.config, batch, chance)
        known = batch.truth_driving and batch.truth_driving.value
        windows = draw_windows(self.config, known, len(batch.driving), chance)
        share = params.found_motion if params.true_motion else params.transfer
        chosen = choose_pairs(share, len(batch.driving), chance)
        losses, output = self.generator(batch, transform, windows, chosen)
        if not losses:
            raise ConfigError(
                "none of the weighted losses can be computed on these data: some need true key points; "
                "weight others in train_params.loss_weights, or draw data with `fomm data heads`"
            )
        groups: list[Group] = [("generator", "kp_detector")]  # networks whose gradients are cut together
        terms = self._differentiate(losses, groups[0])
        if self.discriminator is not None and discriminator is not None and output is not None:
            discriminator.requires_grad_("discriminator" in self.run.rates)
            groups.append(("discriminator",))
            terms |= self._differentiate(self.discriminator(output), groups[1])
        self._descend(groups)
        return terms, output

    def _differentiate(self, losses: dict[str, Tensor], names: Group) -> dict[str, float]:
        """The gradients of the sum of the losses for the named networks; the losses are returned.

        Raises:
            ConfigError: no loss depends on a weight that trains.
            TrainingError: a loss is not finite in one of the processes; no weight has been touched.
        """
        stacked = torch.stack(list(losses.values()))
        terms = dict(zip(losses, self.processes.mean(stacked.detach()).tolist(), strict=True))
        for name, value in terms.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"step {self.run.step}: the loss {name} is {value}; no weight was changed by it. "
                    "Lower the learning rate, or look for broken clips"
                )
        trained = [name for name in names if name in self.run.optimizers]
        if not trained:
            return terms
        if not stacked.requires_grad:
            raise ConfigError(
                f"none of the weighted losses ({', '.join(losses)}) depends on a network that trains "
                f"({', '.join(self.run.rates)}); change a learning rate in train_params, or weight other "
                "losses in train_params.loss_weights"
            )
        for name in trained:
            self.run.optimizers[name].zero_grad(set_to_none=True)
        stacked.sum().backward()
        return terms

    def _descend(self, groups: list[Group]) -> None:
        """A step of the optimisers of all groups, when the gradients of all are known to be finite.

        Raises:
            TrainingError: they are not, which all processes see: the gradients are averaged over them.
        """
        names = [name for group in groups for name in group if name in self.run.optimizers]
        norms = [nn.utils.get_total_norm(list(self._gradients(*group).values())) for group in groups]
        if not all(norm.isfinite() for norm in norms):
            broken = [name for name in names if not _all_finite(self._gradients(name).values())]
            raise TrainingError(
                f"step {self.run.step}: the gradients of {' and '.join(broken) or 'all'} are not finite; no "
                "weight was changed by them. Lower the learning rate, or look for broken clips"
            )
        for group, norm in zip(groups, norms, strict=True):
            if self.run.params.clip_norm is not None:
                nn.utils.clip_grads_with_norm_(self._gradients(*group), self.run.params.clip_norm, norm)
        for name in names:
            self.run.optimizers[name].step()

    def _gradients(self, *names: str) -> dict[nn.Parameter, Tensor]:
        """The weights of the networks that train, with their gradients, where there are any."""
        networks = [self.run.parts[name] for name in names if name in self.run.optimizers]
        weights = [weight for network in networks for weight in network.parameters()]
        return {weight: weight.grad for weight in weights if weight.grad is not None}


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def draw_transform(config: Config, batch: Batch, chance: torch.Generator) -> RandomTransform | None:
    """The transform of the equivariance terms, where they are weighted."""
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
        generator=chance,
        device=batch.source.device,
        align_corners=config.model_params.generator_params.align_corners,
    )
