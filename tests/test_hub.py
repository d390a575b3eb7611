"""Weights as the Hugging Face Hub has them: exact, safe, with an honest card, nothing downloaded unasked."""

import socket
import sys

import hostile
import pytest
import torch
from golden_data import TINY_FILES

from fomm import CheckpointError, ConfigError, load_checkpoints
from fomm.bundled import WEIGHTS, bundled, sha256_of
from fomm.errors import MissingExtraError


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Give the module; nothing in it may reach a network, or the user's own cache."""
    pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    import fomm.hub

    def refuse(*_):
        pytest.fail("a network was asked for")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return fomm.hub


def assert_same(networks, wanted):
    for one, other in zip(networks, wanted, strict=True):
        mine, theirs = one.state_dict(), other.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(
            torch.equal(mine[name], theirs[name]) and mine[name].dtype == theirs[name].dtype for name in mine
        )


def test_weights_come_back_bit_for_bit(hub, tmp_path):
    model = hub.HubModel(*TINY_FILES, device="cpu")
    with torch.no_grad():
        next(model.generator.parameters()).mul_(1.001)  # trained on since they were loaded
    model.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"model.safetensors", "README.md"}
    again = hub.HubModel.from_pretrained(tmp_path / "saved", device="cpu")
    assert_same(again, model)
    assert again.config.model_params == model.config.model_params
    assert again.generator.frame_shape == model.generator.frame_shape
    assert not again.generator.training


def test_the_weights_that_ship_keep_their_file_and_card(hub, tmp_path):
    model = hub.HubModel(device="cpu")
    model.save_pretrained(tmp_path)
    assert sha256_of(tmp_path / "model.safetensors") == WEIGHTS["heads-256.safetensors"]
    assert_same(hub.HubModel.from_pretrained(str(tmp_path), device="cpu"), load_checkpoints(device="cpu"))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    head, text = card.split("---\n", 2)[1:]
    assert "license: mit" in head and "library_name: fomm" in head
    own = bundled("checkpoints", "heads-256.md").read_text(encoding="utf-8")
    assert (
        text.lstrip().startswith(own[:200])
        and "](../" not in text
        and "![" not in text
        and len(text) > 0.9 * len(own)
    )


def test_other_weights_get_a_card_that_claims_nothing(hub, tmp_path):
    """Also those that began as the ones that ship, and that fomm cannot call MIT."""
    model = hub.HubModel(device="cpu")
    with torch.no_grad():
        next(model.kp_detector.parameters()).add_(1e-3)
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "license" not in card.split("---\n")[1] and "heads-256" not in card
    assert "not known to fomm" in card and "256x256 pixels" in card and "consent" in card


def test_pushing_uploads_what_is_saved(hub, monkeypatch):
    """The server is made up: it keeps the names of what comes."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoUrl

    came = {}
    monkeypatch.setattr(
        HfApi, "create_repo", lambda *_, repo_id, **__: RepoUrl(f"https://huggingface.co/{repo_id}")
    )

    def keep(*_, folder_path, **options):
        came.update(options, files={path.name for path in folder_path.iterdir()})

    monkeypatch.setattr(HfApi, "upload_folder", keep)
    hub.HubModel(*TINY_FILES, device="cpu").push_to_hub("owner/name")
    assert came["repo_id"] == "owner/name" and came["files"] == {"model.safetensors", "README.md"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("owner/name", "neither a folder nor in the cache; local_files_only=False downloads"),
        ("./no/such/folder", "neither a folder nor a repository's name"),
        ("owner/name/more", "neither a folder nor a repository's name"),
    ],
)
def test_nothing_is_downloaded_unasked(hub, tmp_path, name, words):
    with pytest.raises(CheckpointError, match=words):
        hub.HubModel.from_pretrained(name, cache_dir=tmp_path)


def test_a_repository_in_the_cache_is_found(hub, tmp_path):
    """Laid out as the package does: a snapshot below the name of the repository."""
    cached = tmp_path / "models--owner--name"
    hub.HubModel(*TINY_FILES, device="cpu").save_pretrained(cached / "snapshots" / "a1b2")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("a1b2")
    found = hub.HubModel.from_pretrained("owner/name", cache_dir=tmp_path, device="cpu")
    assert_same(found, load_checkpoints(*TINY_FILES, device="cpu"))


@pytest.mark.parametrize("content", ["pickle", "good pickle", "text", "config", "nothing"])
def test_what_is_no_weights_is_refused(hub, tmp_path, monkeypatch, content):
    """Only the weights are read: another file in the folder, such as a pickle, is never opened."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(hostile.harmful_pickles()["system"])
    (tmp_path / "config.json").write_text("{")
    files = {
        "pickle": hostile.harmful_pickles()["system"],
        "good pickle": hostile.smallest_checkpoint("zip"),
        "text": b"<html>not found</html>",
        "config": hostile.flat_safetensors(
            hostile.smallest_tensors(), {"fomm": '{"version": "1", "config": {"a": 1}}'}
        ),
    }
    if content in files:
        (tmp_path / "model.safetensors").write_bytes(files[content])
    with pytest.raises((CheckpointError, ConfigError)):
        hub.HubModel.from_pretrained(tmp_path, device="cpu")
    assert not (tmp_path / "canary").exists()


def test_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "fomm.hub", raising=False)
    import fomm.hub as bare

    monkeypatch.delitem(sys.modules, "fomm.hub")
    for use in (bare.HubModel, lambda: bare.HubModel.from_pretrained("folder")):
        with pytest.raises(MissingExtraError, match="pip install huggingface_hub"):
            use()
