"""Animate one photo from a driving video: the First Order Motion Model.

    from fomm import load_checkpoints, make_animation

Nothing heavy is imported until a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fomm._version import __version__

if TYPE_CHECKING:
    from fomm.animation.animate import animate_file, make_animation
    from fomm.animation.animator import Animator
    from fomm.animation.edit import edit
    from fomm.animation.notebook import display
    from fomm.animation.options import Compute, Edit, Excerpt, Framing, Marking, Motion
    from fomm.checkpoint import convert, load_checkpoints
    from fomm.errors import CheckpointError, ConfigError, FommError, InputError, MediaError
    from fomm.marks import mark

__all__ = [
    "Animator",
    "CheckpointError",
    "Compute",
    "ConfigError",
    "Edit",
    "Excerpt",
    "FommError",
    "Framing",
    "InputError",
    "Marking",
    "MediaError",
    "Motion",
    "__version__",
    "animate_file",
    "convert",
    "display",
    "edit",
    "load_checkpoints",
    "make_animation",
    "mark",
]

_ROOMS = {
    "Animator": "fomm.animation.animator",
    "CheckpointError": "fomm.errors",
    "Compute": "fomm.animation.options",
    "ConfigError": "fomm.errors",
    "Edit": "fomm.animation.options",
    "Excerpt": "fomm.animation.options",
    "FommError": "fomm.errors",
    "Framing": "fomm.animation.options",
    "InputError": "fomm.errors",
    "Marking": "fomm.animation.options",
    "MediaError": "fomm.errors",
    "Motion": "fomm.animation.options",
    "animate_file": "fomm.animation.animate",
    "convert": "fomm.checkpoint",
    "display": "fomm.animation.notebook",
    "edit": "fomm.animation.edit",
    "load_checkpoints": "fomm.checkpoint",
    "make_animation": "fomm.animation.animate",
    "mark": "fomm.marks",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'fomm' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return __all__
