"""The command line that does what the page does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from fomm.animation.option_table import DEFAULTS, OPTIONS, Option, switch_option


def spell_command(words: Sequence[str], values: Mapping[str, Any]) -> str:
    """Return a command of fomm as typed in a shell.

    Args:
        words: the command with its files.
        values: of options by field, see ``group_options``; those that are the default are left out.
    """
    spelled = [
        _spell(option, values[option.field])
        for option in OPTIONS
        if option.field in values and values[option.field] != DEFAULTS[option.field]
    ]
    return shlex.join(["fomm", *words, *spelled])


def _spell(option: Option, value: Any) -> str:
    if option.read is switch_option:
        return f"--{option.name if value else option.opposite}"
    if isinstance(value, Mapping):
        text = ",".join(f"{name}={number:g}" for name, number in value.items())
    elif isinstance(value, tuple):
        text = ",".join(map(str, value))
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"--{option.name}={text}"  # with a sign of equality, since numbers may be negative
