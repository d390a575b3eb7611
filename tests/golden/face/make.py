"""Makes ``golden.npz``: what MediaPipe 0.10.21 and the TFLite runtime answer on the pictures of test_face.py.

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
    """The raw answers of a network to ``image``, HxWx3 float32."""
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


def main(wheel):
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
