"""The file of a family: what is written is loaded, and what is not such a file is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save

from fomm.errors import CheckpointError
from fomm.swap.checkpoint import FORMAT, KEY, load_swap, save_swap
from fomm.swap.families import FAMILIES, PLAIN, build_family
from fomm.swap.family import Card

CARD = Card(1200, (("a", 60), ("b", 75)))


@pytest.fixture
def swap(tmp_path):
    family = build_family("vae", {"size": 32, "width": 4, "latent": 8})
    save_swap(tmp_path / "swap.safetensors", family, CARD)
    return tmp_path / "swap.safetensors"


def rewrite(path, tensors=None, **changes) -> None:
    """Write a file anew with other tensors, or with another text, or entries of it, in the metadata."""
    content = {
        "format": FORMAT,
        "version": "0",
        "family": "vae",
        "settings": {"size": 32, "width": 4, "latent": 8, "spread": 0.02},
        "steps": 1,
        "trained_on": [["a", 1], ["b", 2]],
    }
    text = changes.pop("text", None) or json.dumps({**content, **changes})
    path.write_bytes(save(load_file(path) if tensors is None else tensors, {KEY: text}))


@pytest.mark.parametrize("name", {**FAMILIES, **PLAIN})
def test_what_is_written_is_loaded(name, tmp_path):
    torch.manual_seed(0)
    family = build_family(name, {"size": 32, "width": 4}).eval()
    save_swap(tmp_path / "swap.safetensors", family, CARD)
    again = load_swap(tmp_path / "swap.safetensors")
    assert type(again) is type(family) and again.settings == family.settings and again.card == CARD
    assert not again.training and not any(parameter.requires_grad for parameter in again.parameters())
    x = torch.rand(2, 3, 32, 32)
    for side in "ab":
        for one, other in zip(family.swap(x, side), again.swap(x, side), strict=True):
            assert torch.equal(one, other)
    with open(tmp_path / "swap.safetensors", "rb") as file:
        assert b"discriminator" not in file.read()


def test_what_the_file_holds_may_be_written_over(swap):
    family = load_swap(swap)
    before = family.swap(torch.zeros(1, 3, 32, 32), "a")[0]
    swap.write_bytes(bytes(swap.stat().st_size))
    assert torch.equal(family.swap(torch.zeros(1, 3, 32, 32), "a")[0], before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "{"}, "metadata that fomm did not write"),
        ({"text": "[]"}, "metadata that fomm did not write"),
        ({"text": "{}"}, "metadata that fomm did not write"),
        ({"text": "[" * 100_000}, "metadata that fomm did not write"),
        ({"format": 2}, "has format 2, and this fomm reads 1"),
        ({"family": "gan"}, "does not tell a family that fomm has"),
        ({"family": ["vae"]}, "does not tell a family that fomm has"),
        ({"family": "autoencoder", "settings": {"size": 32, "width": 4}}, "lacks|has more than the family"),
        ({"settings": {"size": 32, "width": 5, "latent": 8}}, "instead of"),
        ({"settings": {"size": 64, "width": 4, "latent": 8}}, "lacks|instead of"),
        ({"settings": {"size": 512, "width": 4096, "latent": 4096}}, "lacks|instead of"),  # terabytes
        ({"settings": {"size": 10**9}}, "does not tell a family"),
        ({"settings": {"size": 32, "height": 4}}, "does not tell a family"),
        ({"settings": [32]}, "does not tell a family"),
        ({"settings": None}, "does not tell a family"),
        ({"steps": "many"}, "does not tell a family"),
        ({"trained_on": [["a"]]}, "does not tell a family"),
        ({"trained_on": "ab"}, "does not tell a family"),
    ],
)
def test_metadata_that_mean_harm(swap, changes, message):
    rewrite(swap, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_swap(swap)


def test_tensors_that_do_not_fit(swap):
    tensors = load_file(swap)
    name = next(key for key, tensor in tensors.items() if tensor.ndim == 4)
    for changed, message in (
        ({key: value for key, value in tensors.items() if key != name}, f"lacks {name}"),
        ({**tensors, "more": torch.zeros(1)}, "has more than the family: more"),
        ({**tensors, name: tensors[name].flatten()}, f"{name} is torch.float32"),
        ({**tensors, name: tensors[name].double()}, f"{name} is torch.float64"),
        ({**tensors, name: torch.full_like(tensors[name], float("nan"))}, "not finite"),
    ):
        rewrite(swap, changed)
        with pytest.raises(CheckpointError, match=message):
            load_swap(swap)


def test_files_that_are_none(swap, tmp_path):
    content = swap.read_bytes()
    other = tmp_path / "other.safetensors"
    for wrong, message in (
        (save({"generator.w": torch.zeros(1)}), "holds no networks that swap faces; give a file"),
        (content[:-1], "damaged or incomplete"),
        (content[:100], "incomplete"),
        (b"", "is empty"),
        (b"<html>", "other"),
        ((10**12).to_bytes(8, "little") + content[8:], "incomplete|is no"),
    ):
        other.write_bytes(wrong)
        with pytest.raises(CheckpointError, match=message):
            load_swap(other)
    torch.save({"generator": {"w": torch.zeros(1)}, "kp_detector": {"w": torch.zeros(1)}}, other)
    with pytest.raises(CheckpointError, match="holds no networks that swap faces"):
        load_swap(other)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_swap(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_swap(tmp_path)


def test_places_that_cannot_be_written(tmp_path):
    family = build_family("vae", {"size": 32, "width": 4})
    with pytest.raises(CheckpointError, match="the result is a safetensors file; name it so"):
        save_swap(tmp_path / "swap.pt", family, CARD)
    with pytest.raises(CheckpointError, match=r"the folder .* does not exist"):
        save_swap(tmp_path / "none" / "swap.safetensors", family, CARD)
    with torch.no_grad():
        next(family.faces.parameters()).fill_(float("inf"))
    with pytest.raises(CheckpointError, match="not finite"):
        save_swap(tmp_path / "swap.safetensors", family, CARD)
    assert not list(tmp_path.iterdir())
