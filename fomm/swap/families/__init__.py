"""The families of networks that swap faces, by their names."""

from collections.abc import Mapping
from typing import Any

from fomm.errors import InputError, shown
from fomm.swap.families.autoencoder import Autoencoder
from fomm.swap.family import Family

FAMILIES: dict[str, type[Family]] = {family.name: family for family in (Autoencoder,)}


def build_family(name: str, settings: Mapping[str, Any]) -> Family:
    """Build a family with random weights.

    Args:
        name: one of ``FAMILIES``.
        settings: the arguments of its constructor.

    Raises:
        InputError: there is no such family, or it does not take these settings.
    """
    family = find_family(name)
    try:
        return family(**settings)
    except TypeError as reason:
        raise InputError(f"{name} does not take these settings: {shown(reason)}") from reason


def find_family(name: str) -> type[Family]:
    """Return the class of a family. Raises InputError for an unknown name."""
    if name not in FAMILIES:
        raise InputError(f"there is no family {shown(name)!r}; choose one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
