"""Writes the page: its own files, the networks, the runtime, and a photo and a clip to try."""

from __future__ import annotations

import json
import os
from pathlib import Path

from fomm.browser.constants import describe_constants
from fomm.browser.networks import PageNetwork, convert_networks
from fomm.browser.runtime import read_runtime
from fomm.bundled import bundled
from fomm.errors import InputError
from fomm.export import check_packages, write_files
from fomm.face.blocks import WEIGHTS
from fomm.model import Detector, Generator

SITE = Path(__file__).parent / "site"
SAMPLES = ("grace_hopper.jpg", "driving.mp4")


def write_page(
    folder: str | os.PathLike[str],
    generator: Generator,
    kp_detector: Detector,
    *,
    runtime: str | os.PathLike[str] | None = None,
) -> list[PageNetwork]:
    """Write a static page that moves a photo in the browser, for any web server.

    Args:
        folder: created if it does not exist. Files of the page's names in it are replaced, after the networks
            have been checked.
        generator, kp_detector: from ``load_checkpoints``, on the CPU; weights with labelled key points.
        runtime: the npm package of ONNX Runtime as a file, see ``read_runtime``.

    Returns:
        The networks, and how far each is from torch.

    Raises:
        InputError: the weights or the package cannot be used.
        MissingExtraError: onnx or ONNX Runtime, which checks the networks, is not installed.
        ExportError: a network differs from torch, the package cannot be downloaded, or the folder cannot be
            written to.
    """
    check_packages()
    if kp_detector.openings is None:
        raise InputError(
            "the page moves a photo by the mesh of a face, which needs weights with labelled key points, as "
            "those that ship have; export these without --web"
        )
    assert generator.frame_shape is not None
    height, width, _ = generator.frame_shape
    contents = {f"runtime/{name}": content for name, content in read_runtime(runtime).items()}
    networks = convert_networks(generator, kp_detector)
    contents |= {f"networks/{network.name}.onnx": network.content for network in networks}
    contents |= {path.name: path.read_bytes() for path in sorted(SITE.iterdir()) if path.is_file()}
    contents["apache-2.0.txt"] = (WEIGHTS / "LICENSE").read_bytes()
    contents |= {f"samples/{name}": bundled("examples", name).read_bytes() for name in SAMPLES}
    constants = describe_constants(generator.weights_hash, (height, width))
    contents["constants.json"] = json.dumps(constants, separators=(",", ":")).encode()
    write_files({Path(folder) / name: content for name, content in contents.items()})
    return networks
