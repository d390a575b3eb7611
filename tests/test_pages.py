"""The pages that scripts make are what the scripts give, and charts are drawn from the numbers of today."""

import importlib.util
import sys
from types import ModuleType

import pytest
from checkout import ROOT
from PIL import Image


def load_tool(name: str) -> ModuleType:
    """Return a script of tools/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


CHARTS = load_tool("draw_charts")
API = load_tool("write_api_page")


def test_the_api_page_is_made_from_the_docstrings():
    written = API.PAGE.read_text(encoding="utf-8")
    assert written == API.write_page(), "run: python tools/write_api_page.py"


def test_docstrings_become_lists():
    docstring = (
        "Do ``it``.\n\n    code\n\nArgs:\n    a, b: two\n        numbers.\n\nReturns:\n    Their\n    sum."
    )
    assert API.as_markdown(docstring) == (
        "Do `it`.\n\n    code\n\n**Arguments**\n\n- `a`, `b`: two numbers.\n\n**Returns** Their sum."
    )


def test_signatures_are_those_of_the_source():
    class Shape:
        def __init__(self, side: int | None = None, *rest: float, name: str = "a|b", **more: object) -> None:
            """Nothing."""

    source = API.Source(Shape)
    node = next(
        node
        for node in API.ast.walk(source.tree)
        if isinstance(node, API.ast.FunctionDef) and node.name == "__init__"
    )
    shown = API.signature(source, node, "Shape")
    assert shown == (
        '```py\nShape(side: int | None = None, *rest: float, name: str = "a|b", **more: object)\n```\n'
    )


@pytest.mark.parametrize("chart", CHARTS.SOURCES, ids=lambda chart: chart.name)
def test_charts_are_drawn_from_the_numbers_of_today(chart):
    with Image.open(chart) as picture:
        drawn_from = picture.info.get("Numbers")
    assert drawn_from == CHARTS.hash_numbers(CHARTS.SOURCES[chart]), "run: python tools/draw_charts.py"


def test_other_numbers_have_another_hash(tmp_path):
    hashes = set()
    for number, text in enumerate(("a,b\n1,2\n", "a,b\n1,3\n", "a,b\r\n1,2\r\n")):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(text.encode())
        hashes.add(CHARTS.hash_numbers(path))
    assert len(hashes) == 2  # line ends do not count


def test_every_picture_of_the_pages_is_shown_somewhere():
    pages = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("[!.]*/*.md"))
    pictures = [*ROOT.glob("docs/**/*.png"), *ROOT.glob("docs/**/*.jpg"), *ROOT.glob("research/*.png")]
    assert not [picture.name for picture in pictures if picture.name not in pages]


def test_every_page_is_reached_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [path.name for path in ROOT.glob("docs/*.md") if f"docs/{path.name}" not in readme]
