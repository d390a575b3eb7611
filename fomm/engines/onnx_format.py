"""A graph in the format of ONNX."""

import tempfile
import warnings
from pathlib import Path

import torch

from fomm.engines.graphs import Graph

OPSET = 20  # the first with every operation of the networks


def to_onnx(graph: Graph) -> bytes:
    """The graph as an ONNX file's content, of ``OPSET``, with any number of frames where it has a batch."""
    names = (*graph.inputs, *graph.outputs)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # sizes are written down as they are: that is what is wanted here
        torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            Path(folder, "graph.onnx"),
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={name: {0: "batch"} for name in names if name in graph.batched},
            dynamo=False,  # the other way takes half a minute for what this does in two seconds
        )
        return Path(folder, "graph.onnx").read_bytes()
