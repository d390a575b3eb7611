"""Graphs in the format of ONNX."""

import tempfile
import warnings
from pathlib import Path

import torch

from fomm.engines.graphs import Graph

OPSET = 20  # the first with every operation of the networks


def to_onnx(graph: Graph, opset: int = OPSET) -> bytes:
    """Convert a graph to the content of an ONNX file of this opset; the size of batches stays free."""
    names = (*graph.inputs, *graph.outputs)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # they say that heights and widths become constants, which is wanted
        torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            Path(folder, "graph.onnx"),
            opset_version=opset,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={name: {0: "batch"} for name in names if name in graph.batched},
            dynamo=False,  # the newer exporter takes half a minute for what this one does in two seconds
        )
        return Path(folder, "graph.onnx").read_bytes()
