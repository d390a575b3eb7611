"""What every family of networks that swaps faces has in common: the sides, the networks, the losses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from fomm.errors import InputError
from fomm.swap.batches import WARP, Batch

SIDES = ("a", "b")  # whose face comes out
OTHER = {"a": "b", "b": "a"}  # of each side
_STEP = 16  # the side of a picture is a multiple of it, pixels
_LARGEST = 512  # pixels


@dataclass(frozen=True)
class Card:
    """What weights were trained on, and for how long."""

    steps: int = 0
    trained_on: tuple[tuple[str, int], ...] = ()  # of side a and side b: the name and the number of pictures


class Family(nn.Module):
    """Networks that put one person's face into pictures of another, and the losses that train them.

    ``faces`` is the network that swaps: all that a checkpoint holds. What is needed in training alone, such
    as a discriminator, has attributes of its own.

    Args:
        size: the side of the pictures in pixels, a multiple of 16 between 32 and 512.
        settings: the other arguments of the family, as given to its constructor.

    Attributes:
        settings: what the constructor was given, for the checkpoint.
        card: what the weights were trained on.
        judged: whether the losses are those with discriminators.

    Raises:
        InputError: an argument is not in its range.
    """

    name: ClassVar[str]  # on the command line and in files
    players: ClassVar[tuple[str, ...]] = ("faces",)  # groups of parameters that are optimised apart, in turns
    rates: ClassVar[dict[str, float]] = {"faces": 1e-4}  # the learning rate of each player
    betas: ClassVar[dict[str, tuple[float, float]]] = {}  # of Adam; (0.5, 0.999) for who is not named
    unjudged: ClassVar[float] = 0.0  # in so large a share of the training there are no discriminators yet
    batch_size: ClassVar[int] = 4  # pictures of each side
    presets: ClassVar[dict[str, dict[str, Any]]] = {"quick": {}, "full": {}}  # arguments beside the size
    warp: ClassVar[float] = WARP  # how far what the encoder sees is bent, see ``draw_batch``
    paired: ClassVar[bool] = False  # whether picture i of side a belongs to picture i of side b

    faces: nn.ModuleDict

    def __init__(self, size: int, **settings: int | float | bool) -> None:
        super().__init__()
        if type(size) is not int or size % _STEP or not 32 <= size <= _LARGEST:
            raise InputError(f"size is a multiple of {_STEP} between 32 and {_LARGEST} pixels, not {size!r}")
        for name, value in settings.items():
            if isinstance(value, bool):
                continue
            least = 1 if isinstance(value, int) else 0.0
            if not isinstance(value, int | float) or not least <= value <= 4096:
                raise InputError(f"{name} of {self.name} is a number from {least} to 4096, not {value!r}")
        self.settings: dict[str, Any] = {"size": size, **settings}
        self.size = size
        self.card = Card()
        self.judged = True
        self._made: tuple[Batch, Any] | None = None

    def encode(self, x: Tensor) -> Tensor:
        """Return the latent of aligned faces.

        Args:
            x: BxCxSxS with C = 3, RGB in [0, 1].
        """
        raise NotImplementedError

    def decode(self, z: Tensor, side: str) -> tuple[Tensor, Tensor]:
        """Return the faces of one person that latents describe.

        Args:
            z: latents, as ``encode`` returns them.
            side: ``"a"`` or ``"b"``, whose face comes out.

        Returns:
            Pictures Bx3xSxS, RGB in [0, 1], and masks Bx1xSxS in [0, 1]: 1 where the face is.

        Raises:
            InputError: there is no such side.
        """
        raise NotImplementedError

    def swap(self, x: Tensor, side: str) -> tuple[Tensor, Tensor]:
        """Return the faces of a side with pose and expression of ``x``; see ``encode`` and ``decode``."""
        check_side(side)
        return self.decode(self.encode(x), side)

    def losses(self, batch: Batch, player: str) -> dict[str, Tensor]:
        """Return the weighted losses of a player, scalars by name; their sum is what it minimises.

        Random numbers come from torch's own generator. If no loss has a gradient, the player is skipped in
        this step.
        """
        raise NotImplementedError

    def find_players(self, progress: float) -> tuple[str, ...]:
        """Return the players that train when a share ``progress``, 0 to 1, of the training is done."""
        return self.players if progress >= self.unjudged else ("faces",)

    def find_parameters(self, player: str) -> list[nn.Parameter]:
        """Return the parameters of a player."""
        return list(getattr(self, player).parameters())

    def find_rate(self, progress: float) -> float:
        """Return the factor of the learning rates: 1 in the first half, then a line down to 0."""
        return min(1.0, 2 * (1 - progress))

    def begin_stage(self, player: str) -> None:
        """Prepare for the first step of a player, after those before it; most families need nothing."""

    def keep(self, batch: Batch, made: Any) -> None:
        """Keep what was made of a batch, without its gradients, for the players that come after."""
        self._made = batch, made

    def kept(self, batch: Batch) -> Any | None:
        """Return what was kept of this very batch, or None."""
        made, self._made = self._made, None
        return made[1] if made is not None and made[0] is batch else None


def check_side(side: str) -> None:
    """Raise InputError unless ``side`` is one."""
    if side not in SIDES:
        raise InputError(f"side is a or b, whose face comes out, not {side!r}")


def count_parameters(parameters: Iterable[nn.Parameter]) -> int:
    """Return how many numbers these parameters are."""
    return sum(parameter.numel() for parameter in parameters)
