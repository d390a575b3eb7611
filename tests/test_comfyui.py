"""The nodes for ComfyUI, against a stand-in of its V3 interface.

The stand-in is strict about names: inputs, outputs and schemas take the keywords that they take in ComfyUI.
Nodes run within ``torch.inference_mode``, as they do there.
"""

import asyncio
import enum
import importlib.util
import inspect
import os
import sys
import types
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from checkout import ROOT
from golden_data import TINY_FILES

from fomm import Edit, Framing, InputError, Marking, Motion, animate_file, edit
from fomm.animation.options import PARTS, Excerpt
from fomm.animation.template import write_template
from fomm.bundled import bundled
from fomm.face import detect_faces, face_mesh
from fomm.marks import read_mark
from fomm.media import VideoReader, read_image

ASTRONAUT, CLIP = bundled("examples", "astronaut.png"), bundled("examples", "driving.mp4")
HOPPER, GROUP = bundled("examples", "grace_hopper.jpg"), bundled("examples", "group.jpg")
EXCERPT = Excerpt(start=1.6, duration=0.16, audio=False)  # four frames


@dataclass
class Socket:
    """An input or an output: its type, its name, and what else it was given."""

    kind: str
    id: str
    extras: dict[str, Any]


COMMON = {"display_name", "optional", "tooltip", "lazy"}
WIDGET = COMMON | {"default", "socketless", "force_input"}
NUMBER = WIDGET | {"min", "max", "step", "display_mode"}


def make_type(name: str, allowed: set[str]) -> Any:
    def make(allowed: set[str]) -> Any:
        def socket(id: str, **extras: Any) -> Socket:
            assert extras.keys() <= allowed, f"an input or output {name} takes no {extras.keys() - allowed}"
            return Socket(name, id, extras)

        return socket

    return types.SimpleNamespace(
        Input=make(allowed), Output=make({"display_name", "tooltip", "is_output_list"})
    )


@dataclass
class Schema:
    node_id: str
    display_name: str = ""
    category: str = "sd"
    inputs: list[Socket] = field(default_factory=list)
    outputs: list[Socket] = field(default_factory=list)
    description: str = ""


class ComfyNode:
    @classmethod
    def define_schema(cls):
        raise NotImplementedError

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError


class NodeOutput:
    def __init__(self, *args: Any) -> None:
        self.args = args


class ComfyExtension:
    async def on_load(self) -> None:
        pass


class ProgressBar:
    steps: list[tuple[int, int]] = []  # noqa: RUF012 - of all bars: how far, of how many

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0

    def update(self, value: int) -> None:
        self.done += value
        self.steps.append((self.done, self.total))


@pytest.fixture(scope="module")
def nodes():
    """Load the node pack as ComfyUI loads one, and give its nodes by their ids."""
    io = types.SimpleNamespace(
        Schema=Schema,
        ComfyNode=ComfyNode,
        NodeOutput=NodeOutput,
        NumberDisplay=enum.Enum("NumberDisplay", "number slider"),
        Custom=lambda name: make_type(name, COMMON),
        Image=make_type("IMAGE", COMMON),
        Mask=make_type("MASK", COMMON),
        String=make_type("STRING", WIDGET | {"multiline", "placeholder"}),
        Boolean=make_type("BOOLEAN", WIDGET | {"label_on", "label_off"}),
        Int=make_type("INT", NUMBER | {"control_after_generate"}),
        Float=make_type("FLOAT", NUMBER | {"round"}),
        Combo=make_type("COMBO", (WIDGET - {"force_input"}) | {"options"}),
    )
    modules = {name: types.ModuleType(name) for name in ("comfy_api", "comfy_api.latest", "comfy")}
    modules["comfy.utils"] = types.ModuleType("comfy.utils")
    vars(modules["comfy_api.latest"]).update(io=io, ComfyExtension=ComfyExtension)
    vars(modules["comfy.utils"]).update(ProgressBar=ProgressBar)
    folder = ROOT / "integrations" / "comfyui"
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        spec = importlib.util.spec_from_file_location("fomm_nodes", folder / "__init__.py")
        pack = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "fomm_nodes", pack)
        spec.loader.exec_module(pack)
        extension = asyncio.run(pack.comfy_entrypoint())
        assert isinstance(extension, ComfyExtension)
        yield {node.define_schema().node_id: node for node in asyncio.run(extension.get_node_list())}
        sys.modules.pop("fomm_nodes.nodes", None)


def run(node: type[ComfyNode], **inputs: Any) -> tuple[Any, ...]:
    """Return what a node gives; inputs that are not named have their defaults."""
    defaults = {
        item.id: item.extras["default"] for item in node.define_schema().inputs if "default" in item.extras
    }
    with torch.inference_mode():
        return node.execute(**(defaults | inputs)).args


def to_image(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).float() / 255


def to_levels(images: torch.Tensor) -> np.ndarray:
    assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
    return (images * 255).round().byte().numpy()


@pytest.fixture(scope="module")
def weights(nodes):
    (loaded,) = run(nodes["FommLoadWeights"], device="cpu")
    return loaded


@pytest.fixture(scope="module")
def photo():
    return read_image(ASTRONAUT)


# -- what the graph shows ------------------------------------------------------------------------------


def test_each_node_has_its_sockets_and_a_function_for_them(nodes):
    numbers = {field.name: "FLOAT" for field in fields(Edit)}
    expected = {
        "FommLoadWeights": (
            {"weights": "STRING", "config": "STRING", "device": "COMBO"},
            ["FOMM_WEIGHTS"],
        ),
        "FommMotion": ({"name": "COMBO", "file": "STRING"}, ["FOMM_MOTION", "FLOAT"]),
        "FommAnimate": (
            {
                "weights": "FOMM_WEIGHTS",
                "photo": "IMAGE",
                "driving": "IMAGE",
                "motion": "FOMM_MOTION",
                "fps": "FLOAT",
                **dict.fromkeys(PARTS, "FLOAT"),
                "face": "INT",
                "mark": "BOOLEAN",
            },
            ["IMAGE", "MASK"],
        ),
        "FommEdit": (
            {
                "weights": "FOMM_WEIGHTS",
                "photo": "IMAGE",
                "like": "IMAGE",
                **numbers,
                "face": "INT",
                "mark": "BOOLEAN",
            },
            ["IMAGE"],
        ),
    }
    assert nodes.keys() == expected.keys()
    for name, (inputs, outputs) in expected.items():
        schema = nodes[name].define_schema()
        assert {item.id: item.kind for item in schema.inputs} == inputs
        assert [item.kind for item in schema.outputs] == outputs
        ids = [item.id for item in (*schema.inputs, *schema.outputs)]
        assert len(set(ids)) == len(ids), "ComfyUI refuses an input and an output of one name"
        inspect.signature(nodes[name].execute).bind(**dict.fromkeys(inputs))
        required = {item.id: None for item in schema.inputs if not item.extras.get("optional")}
        inspect.signature(nodes[name].execute).bind(**required)
        assert schema.category == "fomm" and schema.display_name and schema.description


def test_sliders_have_the_range_of_an_edit(nodes):
    sliders = {
        item.id: item.extras for item in nodes["FommEdit"].define_schema().inputs if item.kind == "FLOAT"
    }
    assert Edit(**{name: extras["default"] for name, extras in sliders.items()}) == Edit()
    for name, extras in sliders.items():
        for end, beyond in ((extras["min"], -extras["step"]), (extras["max"], extras["step"])):
            Edit(**{name: end})
            with pytest.raises(InputError, match=name):
                Edit(**{name: end + beyond})


def test_sliders_have_the_range_of_a_strength(nodes):
    inputs = {item.id: item.extras for item in nodes["FommAnimate"].define_schema().inputs}
    for part in PARTS:
        assert inputs[part]["default"] == 1
        for end, beyond in ((inputs[part]["min"], -0.05), (inputs[part]["max"], 0.05)):
            Motion(strength={part: end})
            with pytest.raises(InputError, match=part):
                Motion(strength={part: end + beyond})


@pytest.mark.parametrize("name", ["FommAnimate", "FommEdit"])
def test_a_node_that_makes_pictures_asks_for_consent(nodes, name):
    assert "consent" in nodes[name].define_schema().description


# -- edit ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(nodes, weights, photo):
    (edited,) = run(nodes["FommEdit"], weights=weights, photo=to_image(photo), mouth=0.5, mark=False)
    return edited


def test_an_edit_of_the_mouth_leaves_the_upper_half_of_the_face(opened, photo):
    (face,) = detect_faces(photo)
    bridge = int(face_mesh(photo, face).points[197, 1])
    difference = np.abs(to_levels(opened).astype(int) - photo)
    assert difference.shape == (1, *photo.shape)
    assert difference[:, :bridge].max() <= 2
    assert difference[:, bridge:].max() > 50


def test_results_are_marked_unless_asked_otherwise(nodes, weights, photo, opened):
    (marked,) = run(nodes["FommEdit"], weights=weights, photo=to_image(photo), mouth=0.5)
    reading = read_mark(to_levels(marked)[0])
    assert reading is not None and reading.origin.weights == weights[0].weights_hash[:6]
    assert -10 * np.log10(float(((marked - opened) ** 2).mean())) >= 40


def test_a_picture_takes_the_pose_and_the_expression_of_another(nodes, weights, photo, opened):
    """Hopper's mouth is shut, and her head is held in another way than the astronaut's."""
    like = to_image(read_image(HOPPER))
    inputs = {"weights": weights, "photo": to_image(photo), "like": like, "mark": False}
    (plain,) = run(nodes["FommEdit"], **inputs)
    (both,) = run(nodes["FommEdit"], **inputs, mouth=0.5)
    for found, change in ((plain, Edit()), (both, Edit(mouth=0.5))):
        assert np.array_equal(to_levels(found)[0], edit(photo, change, *weights, like=HOPPER))
    for one, other in ((plain, to_image(photo)), (both, plain), (both, opened)):
        assert np.abs(to_levels(one).astype(int) - to_levels(other)).max() > 50


# -- animate -------------------------------------------------------------------------------------------


def test_driving_frames_move_the_photo_as_animate_file_does(nodes, weights, photo, tmp_path):
    animate_file(ASTRONAUT, CLIP, tmp_path / "r", *weights, excerpt=EXCERPT, marking=Marking(mark=False))
    expected = np.stack([read_image(file) for file in sorted((tmp_path / "r").glob("*.png"))])
    with VideoReader(CLIP, start=EXCERPT.start, duration=EXCERPT.duration) as reader:
        driving, fps = to_image(*reader), reader.fps
    ProgressBar.steps.clear()
    frames, moved = run(
        nodes["FommAnimate"], weights=weights, photo=to_image(photo), driving=driving, fps=fps, mark=False
    )
    assert len(expected) == 4 and np.array_equal(to_levels(frames), expected)
    assert ProgressBar.steps == [(count, 4) for count in range(1, 5)]
    assert moved.shape == (4, *photo.shape[:2]) and moved.dtype == torch.float32
    assert np.array_equal(moved.numpy(), (expected != photo).any(-1))
    assert moved[-1].mean() > 0.05 and moved[:, :, 0].max() == 0, "the head moves, the border does not"


def test_a_motion_moves_the_photo_in_place_of_a_video(nodes, weights, photo, tmp_path):
    whole, fps = run(nodes["FommMotion"], name="smile")
    assert (whole.num_frames, fps) == (80, 25.0)
    file = tmp_path / "short.motion.safetensors"
    write_template(file, replace(whole, motion=whole.motion.take([0, 20, 30])))
    motion, _ = run(nodes["FommMotion"], file=str(file))
    frames, moved = run(nodes["FommAnimate"], weights=weights, photo=to_image(photo), motion=motion)
    assert len(frames) == len(moved) == 3
    readings = [read_mark(frame) for frame in to_levels(frames)]
    assert {reading.origin.weights for reading in readings} == {weights[0].weights_hash[:6]}
    begins, *smiles = (float(mask.mean()) for mask in moved)
    assert begins < 0.1 and min(smiles) > 0.2, "the face is near rest, then smiles and nods"
    change = np.abs(to_levels(frames).astype(int) - photo).max(-1)
    assert 0 < change[moved.numpy() == 0].max() <= 10, "where nothing moved there is the mark alone"


@pytest.fixture(scope="module")
def group():
    return read_image(GROUP)


@pytest.fixture
def smile(nodes, tmp_path):
    """Give two frames of a motion, and the file that holds them."""
    whole, _ = run(nodes["FommMotion"], name="smile")
    file = tmp_path / "short.motion.safetensors"
    write_template(file, replace(whole, motion=whole.motion.take([0, 30])))
    (motion, _) = run(nodes["FommMotion"], file=str(file))
    return motion, file


def test_the_chosen_face_moves_by_the_strengths_of_its_parts(nodes, weights, group, smile, tmp_path):
    motion, file = smile
    strength = {"pose": 0.0, "mouth": 1.5}
    options = {
        "framing": Framing(face=1),
        "motion": Motion(strength=strength),
        "marking": Marking(mark=False),
    }
    animate_file(GROUP, file, tmp_path / "r", *weights, **options)
    expected = np.stack([read_image(path) for path in sorted((tmp_path / "r").glob("*.png"))])
    inputs = {"weights": weights, "photo": to_image(group), "motion": motion, "face": 1, "mark": False}
    frames, moved = run(nodes["FommAnimate"], **inputs, **strength)
    assert np.array_equal(to_levels(frames), expected)
    _, faster = run(nodes["FommAnimate"], **inputs)
    assert moved[1].sum() < 0.5 * faster[1].sum(), "the head stays, the face smiles"
    columns = np.flatnonzero(moved[1].numpy().any(0))
    assert columns.max() < group.shape[1] / 3, "the second face of five moves, and not the largest, the third"


def test_weights_that_know_no_lips_take_no_strengths(nodes, photo):
    config, file = TINY_FILES
    (tiny,) = run(nodes["FommLoadWeights"], weights=str(file), config=str(config), device="cpu")
    inputs = {"weights": tiny, "photo": to_image(photo), "driving": to_image(photo, photo)}
    frames, _ = run(nodes["FommAnimate"], **inputs)
    assert len(frames) == 2
    with pytest.raises(InputError, match="a strength of a part of the face needs weights"):
        run(nodes["FommAnimate"], **inputs, eyes=0.5)


def test_an_edit_changes_the_chosen_face(nodes, weights, group):
    (edited,) = run(nodes["FommEdit"], weights=weights, photo=to_image(group), face=0, mouth=0.5, mark=False)
    expected = edit(group, Edit(mouth=0.5), *weights, framing=Framing(face=0))
    assert np.array_equal(to_levels(edited)[0], expected)
    assert not np.array_equal(expected, edit(group, Edit(mouth=0.5), *weights))


def test_a_node_runs_again_once_its_file_has_changed(nodes, tmp_path):
    file = tmp_path / "a.motion.safetensors"
    states = [nodes["FommMotion"].fingerprint_inputs(name="talk", file=str(file))]
    for time in (1_000, 2_000):
        file.touch()
        os.utime(file, (time, time))
        states.append(nodes["FommMotion"].fingerprint_inputs(name="talk", file=str(file)))
    assert len(set(states)) == 3
    assert nodes["FommLoadWeights"].fingerprint_inputs(weights="", config="", device="cpu") == 0


def test_what_cannot_be_used_is_said_in_one_sentence(nodes, weights, photo):
    one, empty = to_image(photo), torch.zeros(2, 64, 64, 3)
    motion, _ = run(nodes["FommMotion"])
    animate = {"weights": weights, "photo": one}
    for node, inputs, sentence in (
        ("FommAnimate", animate, "neither came; connect one"),
        ("FommAnimate", {**animate, "driving": empty, "motion": motion}, "both came; connect one"),
        ("FommAnimate", {**animate, "driving": empty}, "no face was found in any of its 2 frames"),
        ("FommAnimate", {**animate, "driving": empty[:0]}, "driving_video has no frames"),
        ("FommAnimate", {**animate, "photo": empty, "motion": motion}, "holds 2 pictures; expected one"),
        ("FommAnimate", {**animate, "motion": motion, "face": 3}, "face 3"),
        ("FommEdit", {"weights": weights, "photo": empty}, "the photo: no face was found"),
        ("FommEdit", {**animate, "like": empty}, "like holds 2 pictures; expected one"),
        ("FommEdit", {**animate, "like": empty[:1]}, "the picture of the other face: no face was found"),
        ("FommEdit", {**animate, "face": 3}, "face 3"),
        ("FommMotion", {"file": "wave"}, "there is no motion wave"),
    ):
        with pytest.raises(InputError, match=sentence):
            run(nodes[node], **inputs)
