"""Write docs/python-api.md from the docstrings of the public names.

    python tools/write_api_page.py

The public names are those in the ``__all__`` of the modules below. Signatures are taken from the source text,
so that the page is the same with every version of Python; ``tests/test_pages.py`` compares it.
"""

import ast
import inspect
import re
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "python-api.md"
MODULES = {
    "fomm": "`import fomm` loads nothing heavy: a name loads what it needs when it is first used.",
    "fomm.evaluation": "How well a result follows its driver: see [evaluation](evaluation.md#one-result).",
    "fomm.jobs": "Many photos and videos: see [many jobs](many-jobs.md).",
    "fomm.live": "A photo that moves while a camera looks: see [live](live.md).",
    "fomm.media": "Pictures and videos in files.",
}
HEAD = """<!-- Made from the docstrings by `python tools/write_api_page.py`: change those, run it again. -->

# The Python API

These names are a promise: they stay where they are, and [CHANGELOG.md](../CHANGELOG.md) says when one
changes. What else lies in the modules may move.

```python
from fomm import animate_file, load_checkpoints

generator, kp_detector = load_checkpoints()
animate_file("photo.jpg", "driving.mp4", "result.mp4", generator, kp_detector)
```
"""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):")
_ENTRY = re.compile(r"([\w*][\w.*, ]*): (.*)")


class Source:
    """The source text of the file in which an object is defined."""

    def __init__(self, thing: Any) -> None:
        file = inspect.getsourcefile(thing)
        assert file is not None
        self.text = Path(file).read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.tree = ast.parse(self.text)

    def find(self, name: str) -> Function | ast.ClassDef:
        """Return the definition of that name at the top of the file."""
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef) and node.name == name:
                return node
        raise LookupError(f"{name} is not defined at the top of its file")

    def cut(self, node: ast.AST) -> str:
        """Return the text of a node, in one line."""
        return " ".join((ast.get_source_segment(self.text, node) or "").split())

    def comment(self, node: ast.stmt) -> str:
        """Return the comment at the end of a statement's line, without its sign."""
        line = self.lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset or 0 :].decode()
        return line.partition("#")[2].strip()


def write_page() -> str:
    """Return the page's text."""
    parts = [HEAD]
    for module_name, what in MODULES.items():
        module = import_module(module_name)
        names = [name for name in module.__all__ if not name.startswith("_")]
        things = {name: getattr(module, name) for name in names}
        described = {name: describe(name, thing) for name, thing in things.items() if not _is_error(thing)}
        parts.append(f"## {module_name}\n\n{what}\n")
        parts.append("| name | what |\n| --- | --- |")
        for name, thing in things.items():
            cell = as_markdown(first_sentence(thing)).replace("|", "\\|")
            link = f"`{name}`" if _is_error(thing) else f"[`{name}`](#{_anchor(module_name, name)})"
            parts[-1] += f"\n| {link} | {cell} |"
        parts[-1] += "\n"
        for name, text in described.items():
            parts.append(f"### {module_name}.{name}\n\n{text}")
    return "\n".join(parts).rstrip() + "\n"


def first_sentence(thing: Any) -> str:
    """Return the first sentence of a docstring."""
    paragraph = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph)[0]


def describe(name: str, thing: Any) -> str:
    """Return signature, text and methods of a function or a class, as Markdown."""
    source = Source(thing)
    node = source.find(thing.__name__)
    if not isinstance(node, ast.ClassDef):
        return f"{signature(source, node)}\n{as_markdown(inspect.getdoc(thing) or '')}\n"
    made = next((n for n in node.body if isinstance(n, Function) and n.name == "__init__"), None)
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    call = signature(source, made, node.name) if made else record_signature(source, node.name, fields)
    parts = [call, as_markdown(ast.get_docstring(node) or ""), "" if made else field_notes(source, fields)]
    for method in node.body:
        doc = ast.get_docstring(method) if isinstance(method, Function) else None
        if doc and isinstance(method, Function) and not method.name.startswith("_"):
            decorators = [source.cut(decorator) for decorator in method.decorator_list]
            shown = "" if "property" in decorators else signature(source, method)
            parts.append(
                f"#### {name}.{method.name}\n\n{shown}\n{as_markdown(doc)}".replace("\n\n\n", "\n\n")
            )
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def signature(source: Source, node: Function, name: str | None = None) -> str:
    """Return a call with all parameters as a block of Python; ``self`` is left out."""
    arguments = node.args
    places = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [*[None] * (len(places) - len(arguments.defaults)), *arguments.defaults]
    shown = [_parameter(source, *pair) for pair in zip(places, defaults, strict=True)]
    if places and places[0].arg in ("self", "cls"):
        shown = shown[1:]
    if arguments.vararg:
        shown.append("*" + _parameter(source, arguments.vararg, None))
    elif arguments.kwonlyargs:
        shown.append("*")
    shown += [
        _parameter(source, *pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        shown.append("**" + _parameter(source, arguments.kwarg, None))
    returns = f" -> {source.cut(node.returns)}" if node.returns and name is None else ""
    return _as_block(name or node.name, shown, returns)


def record_signature(source: Source, name: str, fields: list[ast.AnnAssign]) -> str:
    """Return the call that makes a dataclass or a NamedTuple, as a block of Python."""
    shown = []
    for field in fields:
        default = f" = {source.cut(field.value)}" if field.value else ""
        shown.append(f"{source.cut(field.target)}: {source.cut(field.annotation)}{default}")
    return _as_block(name, shown, "")


def field_notes(source: Source, fields: list[ast.AnnAssign]) -> str:
    """Return the comments of fields as a list."""
    notes = [(source.cut(field.target), source.comment(field)) for field in fields]
    return "\n".join(f"- `{name}`: {note}" for name, note in notes if note)


def as_markdown(docstring: str) -> str:
    """Return a docstring with its sections as lists."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", docstring).replace("``", "`")
    parts = []
    for block in re.split(r"\n{2,}(?=\w)", text):
        title, _, rest = block.partition("\n")
        section = _SECTION.fullmatch(title)
        if section is None:
            parts.append(_reflow(block))
        elif section[1] in ("Returns", "Yields"):
            parts.append(f"**{section[1]}** {_reflow(textwrap.dedent(rest))}")
        else:
            heading = "Arguments" if section[1] == "Args" else section[1]
            parts.append(f"**{heading}**\n\n" + "\n".join(_entries(textwrap.dedent(rest))))
    return "\n\n".join(parts)


def _entries(text: str) -> list[str]:
    found: list[str] = []
    for line in text.splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry:
            names = ", ".join(f"`{name.strip()}`" for name in entry[1].split(","))
            found.append(f"- {names}: {entry[2]}")
        elif line.strip() and found:
            found[-1] += " " + line.strip()
        elif line.strip():
            found.append(f"- {line.strip()}")
    return found


def _reflow(text: str) -> str:
    """Join the lines of each paragraph; what is indented or a doctest stays as it is."""
    paragraphs = []
    for paragraph in re.split(r"\n{2,}", text):
        kept = paragraph.startswith(("    ", ">>> ", "- "))
        paragraphs.append(paragraph if kept else " ".join(paragraph.split()))
    return "\n\n".join(paragraphs)


def _parameter(source: Source, argument: ast.arg, default: ast.expr | None) -> str:
    annotation = f": {source.cut(argument.annotation)}" if argument.annotation else ""
    if default is None:
        return argument.arg + annotation
    return f"{argument.arg}{annotation}{' = ' if annotation else '='}{source.cut(default)}"


def _as_block(name: str, parameters: list[str], returns: str) -> str:
    line = f"{name}({', '.join(parameters)}){returns}"
    if len(line) > 100:
        inner = "".join(f"    {parameter},\n" for parameter in parameters)
        line = f"{name}(\n{inner}){returns}"
    return f"```py\n{line}\n```\n"


def _is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Exception)


def _anchor(module: str, name: str) -> str:
    return re.sub(r"[^\w\- ]", "", f"{module}.{name}".lower())


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8", newline="\n")
