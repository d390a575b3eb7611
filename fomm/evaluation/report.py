"""The numbers of an evaluation, for people."""

from typing import Any


def as_text(report: dict[str, Any]) -> str:
    """A few lines with the numbers over the whole list, from the dict that ``runner.evaluate`` returns."""
    data, checkpoint = report["data"], report["checkpoint"]
    lines = [
        f"{report['mode']} of {data['clips']} clips, {data['frames']} frames, weights {checkpoint['file']}"
    ]
    for name, label in (("l1_face", "mean absolute error, face"), ("l1_frame", "mean absolute error, frame")):
        if name in report:
            error = report[name]
            lines.append(
                f"{label}: {error['result']:.4f}, source unchanged {error['unchanged']:.4f}, "
                f"ratio {error['ratio']:.3f}"
            )
    lines.append("correlation of driving and result (all frames; less each clip's mean; median of clips):")
    for trait, numbers in report["correlation"].items():
        values = "  ".join(_number(numbers[key]) for key in ("pooled", "pooled_centred", "clip_median"))
        lines.append(f"  {trait:6} {values}   of {numbers['clips']} clips that move")
    lines.append(f"sharpness of the face, of the truth's: {_number(report['sharpness'])}")
    missing = report["frames_without_face"]
    lines.append(
        f"frames without a face: {missing['result']} of the result, {missing['driving']} of the driving"
    )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "   -  " if value is None else f"{value:6.3f}"
