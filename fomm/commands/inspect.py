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
    parser.epilog = (
        f"exit status: 0 where something says that fomm made the file, {NOTHING} where nothing does"
    )
    parser.set_defaults(run=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    from fomm.marks import inspect_file

    found = inspect_file(options.file)
    if options.json:
        print(json.dumps(_facts(found), indent=2))
    else:
        print("\n".join(_words(found)))
    return 0 if found.names_fomm else NOTHING


def _facts(found: "Inspection") -> dict[str, object]:
    from fomm.marks import FALSE_ALARM

    mark = None
    if found.mark is not None:
        origin, agreement, cell = found.mark
        mark = {
            "made_with": "fomm",
            "weights": origin.weights,
            "weights_name": _name_weights(origin.weights),
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


def _words(found: "Inspection") -> list[str]:
    from fomm.errors import shown
    from fomm.marks import FALSE_ALARM

    if found.mark is None:
        mark = "none found; that proves nothing, since a mark may be lost or removed"
    else:
        origin = found.mark.origin
        name = _name_weights(origin.weights)
        weights = "unknown" if origin.weights == "000000" else origin.weights + (f" ({name})" if name else "")
        mark = (
            f"made with fomm, weights {weights}, number {origin.number}; "
            f"sure: without a mark this is read less than once in a million files ({FALSE_ALARM:.1g})"
        )
    if found.credentials is not None:
        state, signer, made_by, source = found.credentials
        meaning = {
            "Trusted": "signed, unchanged, by somebody trusted here",
            "Valid": "signed and unchanged, by somebody who is on no list of trust here",
        }.get(state, "NOT valid: changed since it was signed, or signed wrongly")
        credentials = f"{meaning}; signer {signer or 'unnamed'}; made by {made_by}; {source}"
    elif found.looked_for_credentials:
        credentials = "none"
    else:
        credentials = "not looked for; pip install 'fomm[c2pa]'"
    sidecar = "none"
    if found.sidecar is not None:
        sidecar = f"of fomm {shown(found.sidecar.get('fomm'))}, " + (
            "and of this very file"
            if found.sidecar["matches"]
            else "but of another file, or this one was changed"
        )
    return [
        f"comment:     {shown(found.comment, 300) or 'none'}",
        f"mark:        {mark}",
        f"credentials: {credentials}",
        f"sidecar:     {sidecar}",
    ]


def _name_weights(digits: str) -> str | None:
    """Return the name of weights that ship, by the first digits of their hash."""
    from fomm.bundled import WEIGHTS

    return next((name for name, digest in WEIGHTS.items() if digest.startswith(digits)), None)
