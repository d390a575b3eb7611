"""Graphs run by OpenVINO, on the CPU."""

from collections.abc import Sequence
from functools import lru_cache

import openvino
import torch
from torch import Tensor

from fomm.engines.graphs import Graph, Run
from fomm.engines.onnx_format import to_onnx


def compile_graph(graph: Graph) -> Run:
    """Make a graph ready to run on as many threads as torch uses; in float32, but where it is quantised."""
    core = _get_core()
    options = {
        "INFERENCE_PRECISION_HINT": "f32",  # the default is 16 bits where the processor has them
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core.compile_model(core.read_model(to_onnx(graph)), "CPU", options)
    request = model.create_infer_request()

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        results = request.infer([tensor.contiguous().numpy() for tensor in inputs], share_inputs=True)
        return [torch.from_numpy(results[output].copy()) for output in model.outputs]

    return run


@lru_cache(maxsize=1)
def _get_core() -> openvino.Core:
    """Return the process's one ``Core``, which is kept for ever, because freeing one makes Ctrl-C crash.

    A ``Core`` gives its thread a stack on which signals are handled (``sigaltstack``). When one of several is
    freed, the thread can be left with a stack that is gone, and the next signal is a segmentation fault.
    """
    return openvino.Core()
