"""Weights in a folder or repository as the Hugging Face Hub has them. Needs the extra ``hub``."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fomm._version import __version__
from fomm.bundled import bundled
from fomm.checkpoint import DEFAULT_WEIGHTS, load_checkpoints, read_checkpoint, save_weights
from fomm.config import load_config
from fomm.errors import CheckpointError, MissingExtraError, shown
from fomm.model import Detector, Generator

try:
    from huggingface_hub import (
        ModelCard,
        ModelCardData,
        ModelHubMixin,
        hf_hub_download,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import HFValidationError
except ImportError:
    ModelHubMixin = object  # type: ignore[assignment, misc]

__all__ = ["WEIGHTS_FILE", "HubModel"]

WEIGHTS_FILE = "model.safetensors"
PathLike = str | os.PathLike[str]


class HubModel(ModelHubMixin):
    """Both networks, with ``save_pretrained`` and ``push_to_hub`` of ``huggingface_hub``'s mixin.

    It unpacks like what ``load_checkpoints`` returns: ``generator, kp_detector = HubModel(...)``. A folder
    holds the weights as safetensors, with the configuration in their metadata, and a card. Nothing else is
    read, so that nothing in a repository can run. What is saved comes back bit for bit.

    Args:
        config_path, checkpoint_path, device: as of ``load_checkpoints``.

    Raises:
        MissingExtraError: ``huggingface_hub`` is not installed; and whatever ``load_checkpoints`` raises.

    Attributes: ``generator``, ``kp_detector`` and their ``config``.
    """

    def __init__(
        self,
        config_path: PathLike | None = None,
        checkpoint_path: PathLike | None = None,
        *,
        device: str | torch.device | None = None,
    ) -> None:
        _check_extra()
        self.generator, self.kp_detector = load_checkpoints(config_path, checkpoint_path, device=device)
        checkpoint = read_checkpoint(checkpoint_path or bundled("checkpoints", DEFAULT_WEIGHTS))
        self.config = checkpoint.resolve_config() if config_path is None else load_config(config_path)
        self._freeze_norm = checkpoint.resolve_freeze_norm()
        self._hub_mixin_config = None  # the mixin would write the arguments into a file of its own

    def __iter__(self) -> Iterator[Generator | Detector]:
        yield self.generator
        yield self.kp_detector

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: PathLike,
        *,
        device: str | torch.device | None = None,
        local_files_only: bool = True,
        revision: str | None = None,
        cache_dir: PathLike | None = None,
        force_download: bool = False,
        token: str | bool | None = None,
    ) -> "HubModel":
        """Return the networks in a folder that ``save_pretrained`` wrote, or in a repository of the Hub.

        Args:
            pretrained_model_name_or_path: the folder, or the repository's name, ``"owner/name"``.
            device: as of ``load_checkpoints``.
            local_files_only: take a repository from the cache alone. False downloads what is not there.
            revision, cache_dir, force_download, token: of a repository, as of ``hf_hub_download``.

        Raises:
            MissingExtraError: ``huggingface_hub`` is not installed.
            CheckpointError: there is no such folder and nothing in the cache, the download failed, or the
                weights cannot be used.
        """
        _check_extra()
        file = Path(pretrained_model_name_or_path) / WEIGHTS_FILE
        if not file.parent.is_dir():
            name = os.fspath(pretrained_model_name_or_path)
            if local_files_only:
                file = _find_in_cache(name, None if cache_dir is None else Path(cache_dir), revision)
            else:
                options = {"revision": revision, "cache_dir": cache_dir, "token": token}
                file = _download(name, force_download=force_download, **options)
        if file.is_file():
            with open(file, "rb") as stream:
                if stream.read(9)[8:] != b"{":  # of the header, behind its length
                    raise CheckpointError(f"{file} is no safetensors file; fomm convert makes one")
        return cls(checkpoint_path=file, device=device)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the weights; the mixin's ``save_pretrained`` calls it."""
        file = save_directory / WEIGHTS_FILE
        if self._is_what_ships():  # the very file that the card tells of
            shutil.copyfile(bundled("checkpoints", DEFAULT_WEIGHTS), file)
            return
        save_weights(file, self.generator, self.kp_detector, self.config, freeze_norm=self._freeze_norm)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> "ModelCard":
        """Return the card: that of the weights that ship, or a short one that its reader is to complete."""
        shipped = self._is_what_ships()
        facts = ModelCardData(
            license="mit" if shipped else None,
            library_name="fomm",
            tags=["image-animation", "first-order-motion-model"],
            pipeline_tag="video-to-video",
        )
        text = bundled("checkpoints", "heads-256.md").read_text(encoding="utf-8") if shipped else ""
        text = re.sub(r"^!\[.*\n", "", text, flags=re.M)  # its pictures and links are files of fomm
        text = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text)
        return ModelCard(f"---\n{facts.to_yaml()}\n---\n\n{text or self._describe()}")

    def _is_what_ships(self) -> bool:
        shipped = load_checkpoints(device="cpu")
        for one, other in zip(self, shipped, strict=True):
            mine, theirs = one.state_dict(), other.state_dict()
            if mine.keys() != theirs.keys():
                return False
            if not all(torch.equal(mine[name].cpu(), theirs[name]) for name in mine):
                return False
        return True

    def _describe(self) -> str:
        """Return a card that says what can be known of any weights."""
        height, width, _ = self.config.dataset_params.frame_shape
        counts = [sum(weight.numel() for weight in network.parameters()) / 1e6 for network in self]
        key_points = self.config.model_params.common_params.num_kp
        return f"""# Weights of the First Order Motion Model

A generator ({counts[0]:.1f} million parameters) and a key-point detector ({counts[1]:.1f} million,
{key_points} key points) for pictures of {width}x{height} pixels, saved by fomm {__version__}.

```python
from fomm.hub import HubModel

generator, kp_detector = HubModel.from_pretrained("owner/name", local_files_only=False)
```

**What they were trained on, how good they are and under which licence they come is not known to fomm.**
Whoever publishes them has to say so here.

Animate a living person's face only with that person's consent, deceive nobody, and say that the result is
synthetic.
"""


def _check_extra() -> None:
    if ModelHubMixin is object:
        raise MissingExtraError("fomm.hub needs the package huggingface_hub: pip install huggingface_hub")


def _find_in_cache(name: str, cache_dir: Path | None, revision: str | None) -> Path:
    """Return the file of weights of a repository that was downloaded before. No network is asked."""
    # Not by hf_hub_download, which asks the network for another thing even where it may download nothing.
    try:
        found = try_to_load_from_cache(name, WEIGHTS_FILE, cache_dir, revision)
    except HFValidationError as reason:
        raise _no_repository(name) from reason
    if not isinstance(found, str):
        raise CheckpointError(
            f"{name} is neither a folder nor in the cache; local_files_only=False downloads a repository"
        )
    return Path(found)


def _download(name: str, **options: Any) -> Path:
    """Return the file of weights of a repository, downloaded where it is not in the cache."""
    try:
        return Path(hf_hub_download(name, WEIGHTS_FILE, **options))
    except HFValidationError as reason:
        raise _no_repository(name) from reason
    except Exception as reason:  # of the network, the server, the disk
        words = shown(reason, 300) or type(reason).__name__
        raise CheckpointError(f"cannot download {WEIGHTS_FILE} of {name}: {words}") from reason


def _no_repository(name: str) -> CheckpointError:
    return CheckpointError(
        f"{name} is neither a folder nor a repository's name; give a folder, or owner/name"
    )
