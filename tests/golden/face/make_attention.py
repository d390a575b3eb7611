"""Makes ``attention.npz``: what MediaPipe 0.10.21 answers with its attention mesh.

``points`` (62x478x2 float16, pixels) are those on both portraits and the 60 heads of ``heads60.jpg``, nan
where MediaPipe is not sure of a face. ``NAME_points`` (478x3 float32) are on the pictures of test_face.py.

The network alone, without MediaPipe's search for the face: ``windows`` (12x4: picture, top, left, side) names
squares, which are enlarged to 192x192 pixels by repeating theirs. In those of 96 pixels an eye lies at the
border, and what the network samples around it reaches beyond. ``window_points`` (12x478x3, pixels of the
192x192) and ``window_presence`` (12, before the sigmoid) are the answers.

Needs a separate environment with mediapipe 0.10.21, scikit-image and Pillow:

    python tests/golden/face/make_attention.py
"""

from pathlib import Path

import mediapipe as mp
import numpy as np
import skimage.data
from mediapipe.python import packet_creator, packet_getter
from PIL import Image

HERE = Path(__file__).parent
MODEL = Path(mp.__file__).parent / "modules" / "face_landmark" / "face_landmark_with_attention.tflite"
WINDOWS = [(number, 32, 32, 192) for number in (0, 1, 5, 10, 15, 25, 30)]
WINDOWS += [(35, 64, 0, 192), (40, 0, 64, 192), (0, 64, 64, 96), (0, 64, 96, 96), (20, 96, 64, 96)]

NETWORK = f"""
input_stream: "image"
output_stream: "answer"
node {{
  calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:input"
  options {{ [mediapipe.ImageToTensorCalculatorOptions.ext] {{
    output_tensor_width: 192 output_tensor_height: 192 output_tensor_float_range {{ min: 0 max: 1 }}
  }} }}
}}
node {{ calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:operators" }}
node {{
  calculator: "InferenceCalculator" input_side_packet: "OP_RESOLVER:operators"
  input_stream: "TENSORS:input" output_stream: "TENSORS:answers"
  options {{ [mediapipe.InferenceCalculatorOptions.ext] {{
    model_path: "{MODEL}" delegate {{ xnnpack {{ num_threads: 1 }} }}
  }} }}
}}
"""
POINTS = """
node {
  calculator: "TensorsToFaceLandmarksWithAttention" input_stream: "TENSORS:answers"
  output_stream: "LANDMARKS:answer"
}
"""
PRESENCE = """
node {
  calculator: "SplitTensorVectorCalculator"
  input_stream: "answers" output_stream: "places" output_stream: "presence"
  options { [mediapipe.SplitVectorCalculatorOptions.ext] {
    ranges { begin: 0 end: 6 } ranges { begin: 6 end: 7 }
  } }
}
node {
  calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:presence" output_stream: "FLOAT:answer"
}
"""


def run_network(image, tail, get):
    """Return the network's answer to ``image``, 192x192x3 uint8; ``tail`` ends the graph."""
    graph, found = mp.CalculatorGraph(graph_config=NETWORK + tail), []
    graph.observe_output_stream("answer", lambda _, packet: found.append(get(packet)))
    graph.start_run()
    frame = packet_creator.create_image_frame(np.ascontiguousarray(image), image_format=mp.ImageFormat.SRGB)
    graph.add_packet_to_input_stream("image", frame.at(0))
    graph.close_all_packet_sources()
    graph.wait_until_done()
    return found[0]


def points_of(landmarks):
    return np.array([(point.x, point.y, point.z) for point in landmarks.landmark])


def run_mediapipe(image):
    """Return the mesh of the first face, 478x3 pixels; nan where there is none."""
    height, width = image.shape[:2]
    with mp.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True
    ) as network:
        found = network.process(np.ascontiguousarray(image)).multi_face_landmarks
    return points_of(found[0]) * (width, height, width) if found else np.full((478, 3), np.nan)


def main():
    sheet = np.asarray(Image.open(HERE / "heads60.jpg"))
    heads = sheet.reshape(6, 256, 10, 256, 3).swapaxes(1, 2).reshape(60, 256, 256, 3)
    examples = HERE.parents[2] / "examples"
    portraits = [Image.open(examples / name) for name in ("astronaut.png", "grace_hopper.jpg")]
    pictures = [np.asarray(portrait.convert("RGB")) for portrait in portraits] + list(heads)
    meshes = np.stack([run_mediapipe(picture) for picture in pictures])
    golden = {"points": meshes[..., :2].astype(np.float16)}

    astronaut = skimage.data.astronaut()
    half = astronaut.reshape(256, 2, 256, 2, 3).mean((1, 3)).round().astype(np.uint8)
    named = {"astronaut": astronaut, "half": half}
    named |= {f"head{i}": np.asarray(Image.open(HERE / f"head{i}.jpg")) for i in range(3)}
    for name, image in named.items():
        golden[f"{name}_points"] = run_mediapipe(image).astype(np.float32)

    parts = []
    for number, top, left, side in WINDOWS:
        part = pictures[number][top : top + side, left : left + side]
        parts.append(part.repeat(192 // side, axis=0).repeat(192 // side, axis=1))
    points = [points_of(run_network(part, POINTS, packet_getter.get_proto)) * 192 for part in parts]
    presence = [run_network(part, PRESENCE, packet_getter.get_float) for part in parts]
    golden["windows"] = np.array(WINDOWS)
    golden["window_points"] = np.stack(points).astype(np.float32)
    golden["window_presence"] = np.array(presence, np.float32)
    np.savez_compressed(HERE / "attention.npz", **golden)


if __name__ == "__main__":
    main()
