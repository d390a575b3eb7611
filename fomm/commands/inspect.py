"""``fomm inspect``."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it loads numpy, which --help does not need
    from fomm.marks import Inspection

NOTHING = 3  # the exit status where a file was read and nothing names fomm


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm inspect``, and what it calls."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a picture, a video or a folder of pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of words")
    parser.add_argument(
        "--changes", action="store_true", help="look for changes of a face, too: as fomm detect, and no proof"
    )
    parser.epilog = (
        f"exit status: 0 where something says that fomm made the file, {NOTHING} where nothing does"
    )
    parser.set_defaults(run=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    from fomm.marks import describe_inspection, inspect_file

    found = inspect_file(options.file)
    facts, lines = _facts(found), describe_inspection(found)
    if options.changes:
        from fomm.detect.page import describe_changes
        from fomm.detect.scan import LIMITS, scan_file

        scan = scan_file(options.file, progress=True)
        facts["changes"] = {"probability": scan.probability, "limits": LIMITS}
        lines += ["", *describe_changes(scan)]  # beside the marks, never instead of them
    print(json.dumps(facts, indent=2) if options.json else "\n".join(lines))
    return 0 if found.names_fomm else NOTHING


def _facts(found: "Inspection") -> dict[str, object]:
    from fomm.marks import FALSE_ALARM, name_weights

    mark = None
    if found.mark is not None:
        origin, agreement, cell = found.mark
        mark = {
            "made_with": "fomm",
            "weights": origin.weights,
            "weights_name": name_weights(origin.weights),
            "number": origin.number,
            "agreement": round(agreement, 3),
            "cell": round(cell, 4),
        }
    return {
        "made_with_fomm": found.names_fomm,
        "comment": found.comment,
        "mark": mark,
        "false_alarm": FALSE_ALARM,
        "credentials": found.credentials and found.credentials._asdict(),
        "looked_for_credentials": found.looked_for_credentials,
        "sidecar": found.sidecar,
    }
