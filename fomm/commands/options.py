"""Options that several commands have, and how their help reads."""

import argparse
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fomm.animation.option_table import DEFAULTS, OPTIONS, switch_option
from fomm.animation.options import Compute


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Add each default to its help, but for flags and options whose help tells of life without them."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        without = action.default is None or isinstance(action.default, bool)
        return action.help if without else super()._get_help_string(action)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint`` and ``--config``."""
    parser.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="weights; without it, those that ship"
    )
    add_config(parser)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``."""
    parser.add_argument(
        "--config",
        metavar="FILE|NAME",
        help="a YAML file or the name of one that ships; without it, the weights tell",
    )


def add_options(
    parser: argparse.ArgumentParser,
    only: Collection[str] | None = None,
    but: Collection[str] = (),
    more: Mapping[str, dict[str, Any]] = {},
) -> None:
    """Add the options of an animation, under their headings: ``only`` these, or all ``but`` those.

    ``more``: what argparse is told of some beside that, by their names.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in OPTIONS:
        if option.name in but or (only is not None and option.name not in only):
            continue
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        if option.read is switch_option:
            add_switch(
                groups[option.group],
                option.name,
                option.opposite,
                DEFAULTS[option.field],
                option.help,
                option.field,
            )
        else:
            keywords: dict[str, Any] = {
                "dest": option.field,
                "metavar": option.metavar,
                "type": option.read,
                "default": DEFAULTS[option.field],
                "help": option.help,
            }
            groups[option.group].add_argument(f"--{option.name}", **keywords | more.get(option.name, {}))


def add_switch(
    group: argparse._ArgumentGroup | argparse.ArgumentParser,
    name: str,
    opposite: str | None,
    default: bool | None,
    summary: str,
    field: str | None = None,
) -> None:
    """Add the flag ``--name`` and, where it has one, its opposite; of both the later wins."""
    for flag, value in ((name, True), (opposite, False)):
        if flag is not None:
            group.add_argument(
                f"--{flag}",
                dest=field or name.replace("-", "_"),
                action="store_const",
                const=value,
                default=default,
                help=(summary if value else f"not --{name}")
                + (" (default)" if opposite and value == default else ""),
            )


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what ``add_options`` has found on the command line, by field, for ``group_options``."""
    return {name: value for name, value in vars(arguments).items() if name in DEFAULTS}


def choose_compute(networks: tuple[Any, Any], compute: Compute) -> Compute:
    """Return ``compute`` with the engine and the precision chosen, where they were left to fomm."""
    from fomm.engines import choose_engine

    device = next(networks[0].parameters()).device
    engine, precision = choose_engine(compute.engine, compute.precision, device)
    return replace(compute, engine=engine, precision=precision)
