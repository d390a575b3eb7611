"""Makes ``golden.npz`` and ``faces.npz``: what MediaPipe 0.10.21 and the TFLite runtime answer.

The pictures are those of test_face.py. ``heads60.jpg`` are ``render_clip(60, person, 0, 1, 256)``
for 60 people, ten in a row.

Needs a separate environment with mediapipe 0.10.21, ai-edge-litert, scikit-image and the wheel of mediapipe:

    python tests/golden/face/make.py mediapipe-0.10.21-*.whl
"""

import sys
import zipfile
from pathlib import Path

import mediapipe as mp
import numpy as np
import skimage.data
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

HERE = Path(__file__).parent
MODULES = "mediapipe/modules"


def run_tflite(wheel, member, image):
    """Return the raw answers of a network to ``image``, HxWx3 float32."""
    network = Interpreter(model_content=zipfile.ZipFile(wheel).read(f"{MODULES}/{member}.tflite"))
    network.allocate_tensors()
    network.set_tensor(network.get_input_details()[0]["index"], image[None])
    network.invoke()
    return [network.get_tensor(output["index"])[0] for output in network.get_output_details()]


def run_mediapipe(image):
    """Box and six points of the first face (16 pixels) and its mesh (468x3 pixels)."""
    height, width = image.shape[:2]
    with mp.solutions.face_detection.FaceDetection(
        model_selection=0, min_detection_confidence=0.5
    ) as network:
        place = network.process(image).detections[0].location_data
    box = place.relative_bounding_box
    corners = [(box.xmin, box.ymin), (box.xmin + box.width, box.ymin + box.height)]
    face = np.array(corners + [(point.x, point.y) for point in place.relative_keypoints]) * (width, height)
    with mp.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1) as network:
        points = network.process(image).multi_face_landmarks[0].landmark
    mesh = np.array([(point.x, point.y, point.z) for point in points]) * (width, height, width)
    return face.reshape(-1), mesh


def find_all(image):
    """Every face that the detector finds, Nx4 (x0, y0, x1, y1), and the mesh of the first, 468x2 pixels."""
    size = np.array(image.shape[1::-1])
    with mp.solutions.face_detection.FaceDetection(
        model_selection=0, min_detection_confidence=0.5
    ) as network:
        found = network.process(image).detections or []
    boxes = [detection.location_data.relative_bounding_box for detection in found]
    corners = [(box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height) for box in boxes]
    with mp.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1) as network:
        meshes = network.process(image).multi_face_landmarks
    points = np.full((468, 2), np.nan)
    if meshes:
        points = np.array([(point.x, point.y) for point in meshes[0].landmark]) * size
    return np.array(corners).reshape(-1, 4) * np.tile(size, 2), points


def make_faces():
    """Of both portraits and the 60 heads: ``boxes`` Nx4 in pixels, ``picture`` N, and ``points`` 62x468x2."""
    sheet = np.asarray(Image.open(HERE / "heads60.jpg"))
    heads = sheet.reshape(6, 256, 10, 256, 3).swapaxes(1, 2).reshape(60, 256, 256, 3)
    examples = HERE.parents[2] / "examples"
    portraits = [Image.open(examples / name) for name in ("astronaut.png", "grace_hopper.jpg")]
    pictures = [np.asarray(portrait.convert("RGB")) for portrait in portraits] + list(heads)
    answers = [find_all(np.ascontiguousarray(picture)) for picture in pictures]
    numbers = np.concatenate([np.full(len(boxes), i) for i, (boxes, _) in enumerate(answers)])
    np.savez_compressed(
        HERE / "faces.npz",
        boxes=np.concatenate([boxes for boxes, _ in answers]).astype(np.float32),
        picture=numbers.astype(np.int64),
        points=np.stack([points for _, points in answers]).astype(np.float16),
    )


def main(wheel):
    make_faces()
    astronaut = skimage.data.astronaut()
    half = astronaut.reshape(256, 2, 256, 2, 3).mean((1, 3)).round().astype(np.uint8)
    golden = {}
    places, scores = run_tflite(
        wheel,
        "face_detection/face_detection_short_range",
        (astronaut[::4, ::4] / 127.5 - 1).astype(np.float32),
    )
    golden["detector_scores"], golden["detector_places"] = scores[:, 0], places
    crop = (astronaut[32:224, 129:321] / 255).astype(np.float32)
    points, presence = run_tflite(wheel, "face_landmark/face_landmark", crop)
    golden["mesh_points"], golden["mesh_presence"] = points.reshape(468, 3), presence.reshape(1)
    images = {"astronaut": astronaut, "half": half}
    images |= {f"head{i}": np.asarray(Image.open(HERE / f"head{i}.jpg")) for i in range(3)}
    for name, image in images.items():
        golden[f"{name}_face"], golden[f"{name}_points"] = run_mediapipe(np.ascontiguousarray(image))
    np.savez_compressed(
        HERE / "golden.npz", **{name: value.astype(np.float32) for name, value in golden.items()}
    )


if __name__ == "__main__":
    main(sys.argv[1])
