"""Graphs run by ONNX Runtime, on the CPU."""

from collections.abc import Sequence

import onnxruntime
import torch
from torch import Tensor

from fomm.engines.graphs import Graph, Run
from fomm.engines.onnx_format import to_onnx


def compile_graph(graph: Graph) -> Run:
    """Make a graph ready to run on as many threads as torch uses."""
    return compile_onnx(to_onnx(graph), graph)


def compile_onnx(model: bytes, graph: Graph) -> Run:
    """Make the content of an ONNX file ready to run; inputs and outputs are those of ``graph``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        arrays = (tensor.contiguous().numpy() for tensor in inputs)
        return [
            torch.from_numpy(array)
            for array in session.run(list(graph.outputs), dict(zip(graph.inputs, arrays, strict=True)))
        ]

    return run
