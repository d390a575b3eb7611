"""Draw the charts of the pages from the numbers that are written down.

    python tools/draw_charts.py

The numbers stand in CSV files and in a table of ``checkpoints/heads-256.md``. Each picture carries the hash
of its numbers, so that ``tests/test_pages.py`` notices a chart that is older than they are. Needs matplotlib
(``pip install -e '.[bench]'``).
"""

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
CHARTS = ROOT / "docs" / "charts"
CARD = ROOT / "checkpoints" / "heads-256.md"
SPEED = CHARTS / "speed.csv"
FILE_TO_FILE = CHARTS / "file-to-file.csv"
GENERATIONS = ROOT / "research" / "generations.csv"

# Each picture, and the file that its numbers stand in.
SOURCES = {
    CHARTS / "speed-avx512.png": SPEED,
    CHARTS / "speed-avx2.png": SPEED,
    CHARTS / "file-to-file.png": FILE_TO_FILE,
    CHARTS / "correlations.png": CARD,
    ROOT / "research" / "generations.png": GENERATIONS,
}
INK, DIM, GREY = "#24292f", "#6a6d73", "#b4b8be"
BLUE, ORANGE, GREEN, RED, PURPLE = "#2f6fab", "#d9822b", "#3f8f5b", "#b5413b", "#8a5aa8"
COLOURS = {"float32": BLUE, "bfloat16": GREEN, "int8": ORANGE}
ENGINES = {"torch": "PyTorch", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}


def hash_numbers(path: Path) -> str:
    """Return the sha256 of a CSV file, or of the card's table of correlations."""
    rows = [row.split(",") for row in path.read_text(encoding="utf-8").splitlines()]
    if path == CARD:
        rows = read_table(path, "correlation")
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file as dictionaries of its column names."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_table(path: Path, first_header: str) -> list[list[str]]:
    """Return the cells of the Markdown table whose first header is this, its header first."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_header} |"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return [rows[0], *rows[2:]]  # without the line of dashes


def clean(axes: "Axes", title: str) -> None:
    """Give a panel its title, and take away the lines that say nothing."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.tick_params(axis="both", length=0, labelsize=9.5, labelcolor=INK)


def draw_speed(figure: "Figure", processor: str) -> None:
    """Draw frames a second of each engine and precision, one panel for each network."""
    panels = figure.subplots(1, 2)
    for axes, network in zip(panels, ("heads-256", "vox-256"), strict=True):
        rows = [row for row in read_rows(SPEED) if (row["processor"], row["network"]) == (processor, network)]
        rows.sort(key=lambda row: float(row["frames_per_second"]))
        rates = [float(row["frames_per_second"]) for row in rows]
        names, labels, colours = [], [], []
        for row in rows:
            plain = row["engine"] == "plain loop"
            names.append("plain loop" if plain else f"{ENGINES[row['engine']]}, {row['precision']}")
            labels.append(row["frames_per_second"] + ("" if plain else f"   ({row['times']}x)"))
            colours.append(GREY if plain else COLOURS[row["precision"]])
        axes.barh(range(len(rows)), rates, color=colours, height=0.68)
        axes.set_yticks(range(len(rows)), names)
        for place, (rate, label) in enumerate(zip(rates, labels, strict=True)):
            axes.text(rate + max(rates) * 0.015, place, label, va="center", fontsize=9, color=INK)
        axes.set_xlim(0, max(rates) * 1.32)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        clean(axes, f"{network}: frames a second")


def draw_file_to_file(figure: "Figure") -> None:
    """Draw the processor's milliseconds for each step of a frame, in a row: before, and now below."""
    steps = read_rows(FILE_TO_FILE)
    axes = figure.subplots()
    colours = (BLUE, PURPLE, INK, ORANGE, GREEN, GREY, RED)
    longest = 0.0
    for height, column in ((1, "before"), (0, "now")):
        left = 0.0
        for row, colour in zip(steps, colours, strict=True):
            value = float(row[column])
            axes.barh(height, value, left=left, color=colour, height=0.6, edgecolor="white")
            middle = left + value / 2
            inside = value > 4  # a number wider than its bar stands below it
            axes.text(
                middle,
                height if inside else height - 0.42,
                row[column],
                ha="center",
                va="center",
                color="white" if inside else colour,
                fontsize=9,
            )
            if height:
                above = 1.4 if row["step"] != "find faces" else 1.75
                axes.text(middle, above, row["step"], ha="center", color=colour, fontsize=9.5)
            left += value
        axes.text(left + 1, height, f"sum {left:.1f}", va="center", color=INK, fontsize=9.5)
        longest = max(longest, left)
    axes.set_yticks([1, 0], ["before", "now"])
    axes.set_xlim(0, longest * 1.13)
    axes.set_ylim(-0.5, 2.1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    clean(axes, "milliseconds of the processor for a frame")


def draw_correlations(figure: "Figure") -> None:
    """Draw how closely the shipped weights follow the driver, from the card's table of correlations."""
    header, *rows = read_table(CARD, "correlation")
    columns = {
        "reconstruction": ("a clip moves its own first frame", BLUE),
        "animation": ("another person's first frame", GREEN),
        "portraits": ("the two portraits", ORANGE),
    }
    axes = figure.subplots()
    for index, (column, (label, colour)) in enumerate(columns.items()):
        texts = [row[header.index(column)] for row in rows]
        values = [float(text) for text in texts]
        places = [place + (index - 1) * 0.27 for place in range(len(rows))]
        axes.bar(places, values, width=0.25, color=colour, label=label)
        for place, value, text in zip(places, values, texts, strict=True):
            axes.text(place, value + 0.012, text, ha="center", fontsize=8.5, color=INK)
    axes.set_xticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylim(0, 1.08)
    axes.set_yticks([])
    clean(axes, "Correlation of driver and result over time (1: follows exactly)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False, fontsize=9.5)


def draw_generations(figure: "Figure") -> None:
    """Draw what each generation of weights measured, one panel for each kind of number."""
    rows = {row["measure"]: row for row in read_rows(GENERATIONS)}
    names = [name for name in next(iter(rows.values())) if name != "measure"]
    parts = (("yaw", GREY), ("pitch", PURPLE), ("mouth", ORANGE), ("eyes", GREEN))
    series: list[tuple[str, list[tuple[str, str, str]]]] = [
        (
            "Error in the face, and sharpness",
            [
                ("error", "error in the face, of the unchanged source's", RED),
                ("sharpness", "sharpness, denoised, of the source's at that size", BLUE),
            ],
        )
    ]
    for mode in ("reconstruction", "animation"):
        curves = [(part, f"correlation of {part}; {mode}", colour) for part, colour in parts]
        series.append((f"{mode.capitalize()}: correlation with the driver", curves))
    panels = figure.subplots(1, 3)
    for axes, (title, curves) in zip(panels, series, strict=True):
        ends = {}
        for label, measure, colour in curves:
            values = [float(rows[measure][name]) for name in names]
            axes.plot(range(len(names)), values, color=colour, marker="o", markersize=4, linewidth=2)
            ends[label] = (values[-1], colour)
        previous = 2.0
        for label, (value, colour) in sorted(ends.items(), key=lambda item: -item[1][0]):
            previous = min(value, previous - 0.055)
            axes.text(
                len(names) - 0.75, previous, f"{label} {value:g}", va="center", fontsize=9, color=colour
            )
        axes.set_xticks(range(len(names)), ["heads-\n128", *map(str, range(1, len(names)))])
        axes.set_xlim(-0.3, len(names) + 1.9)
        axes.set_ylim(0, 1.04)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.grid(axis="y", color="#e6e7ea")
        axes.set_axisbelow(True)
        clean(axes, title)
        axes.title.set_fontsize(10)
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", labelcolor=DIM, labelsize=8)
        axes.set_xlabel("generation of heads-256; 8 ships", fontsize=8.5, color=DIM)


def save_chart(path: Path, size: tuple[float, float], draw: Callable[["Figure"], None]) -> None:
    """Draw one chart of so many inches into a PNG that carries the hash of its numbers."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["font.family"] = "DejaVu Sans"
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    draw(figure)
    metadata = {"Software": None, "Numbers": hash_numbers(SOURCES[path])}
    figure.savefig(path, metadata=metadata)


def main() -> None:
    """Draw every chart."""
    save_chart(CHARTS / "speed-avx512.png", (9.2, 3.0), lambda figure: draw_speed(figure, "AVX-512"))
    save_chart(CHARTS / "speed-avx2.png", (9.2, 2.7), lambda figure: draw_speed(figure, "AVX2"))
    save_chart(CHARTS / "file-to-file.png", (9.2, 2.0), draw_file_to_file)
    save_chart(CHARTS / "correlations.png", (8.4, 3.2), draw_correlations)
    save_chart(ROOT / "research" / "generations.png", (12.0, 3.5), draw_generations)


if __name__ == "__main__":
    main()
