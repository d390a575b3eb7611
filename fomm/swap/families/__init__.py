"""The families of networks that swap faces, by their names."""

from collections.abc import Mapping
from typing import Any

from fomm.errors import InputError, shown
from fomm.swap.families.autoencoder import Autoencoder
from fomm.swap.families.conv_vae import ConvVAE
from fomm.swap.families.cyclegan import CycleGAN
from fomm.swap.families.pix2pix import Pix2Pix
from fomm.swap.families.sagan import SAGAN
from fomm.swap.families.vae import VAE
from fomm.swap.families.vae_gan import VAEGAN
from fomm.swap.family import Family

# What learns from two persons' faces.
FAMILIES: dict[str, type[Family]] = {
    family.name: family for family in (Autoencoder, VAE, ConvVAE, VAEGAN, CycleGAN, SAGAN)
}
# What learns from two folders of any pictures.
PLAIN: dict[str, type[Family]] = {family.name: family for family in (CycleGAN, Pix2Pix)}


def build_family(name: str, settings: Mapping[str, Any]) -> Family:
    """Build a family with random weights.

    Args:
        name: one of ``FAMILIES`` or ``PLAIN``.
        settings: the arguments of its constructor.

    Raises:
        InputError: there is no such family, or it does not take these settings.
    """
    family = find_family(name, plain=name in PLAIN)
    try:
        return family(**settings)
    except TypeError as reason:
        raise InputError(f"{name} does not take these settings: {shown(reason)}") from reason


def find_family(name: str, *, plain: bool = False) -> type[Family]:
    """Return the class of a family of ``FAMILIES``, or with ``plain`` of ``PLAIN``.

    Raises:
        InputError: there is no such family there.
    """
    known = PLAIN if plain else FAMILIES
    if name in known:
        return known[name]
    if name in FAMILIES:
        raise InputError(f"{name} learns from faces; for folders of any pictures take {' or '.join(PLAIN)}")
    if name in PLAIN:
        raise InputError(f"{name} learns from folders of any pictures: give two, and --any")
    raise InputError(f"there is no family {shown(name)!r}; choose one of {', '.join(FAMILIES)}")
