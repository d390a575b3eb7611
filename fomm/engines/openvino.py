"""Graphs run by OpenVINO, on the CPU."""

from collections.abc import Sequence
from functools import lru_cache

import openvino
import torch
from torch import Tensor

from fomm.engines.graphs import Graph, Run
from fomm.engines.onnx_format import to_onnx


def compiled(graph: Graph) -> Run:
    """The graph, ready to run on as many threads as torch uses; float32 where it is not marked as 8 bits."""
    core = _core()
    options = {
        "INFERENCE_PRECISION_HINT": "f32",  # by itself it takes 16 bits where the processor has them
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
def _core() -> openvino.Core:
    """The process's only one, never let go: each gives its thread a stack for signals and takes it away.

    Of several, one leaves the thread on the stack of another that is gone: Ctrl-C then ends Python with a
    segmentation fault.
    """
    return openvino.Core()
