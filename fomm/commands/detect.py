"""``fomm detect``."""

import argparse
import json
from pathlib import Path


def add_detect(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm detect``, and what it calls."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a video, a picture or a folder of pictures")
    parser.add_argument("--report", metavar="PAGE", type=Path, help="write a page with heat maps: .html")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of words")
    parser.epilog = (
        "Its network was trained on drawn heads; its answer is no proof. Look at fomm inspect first."
    )
    parser.set_defaults(run=_detect)


def _detect(options: argparse.Namespace) -> None:
    from fomm.atomic import atomic_path, check_is_no_input, check_place
    from fomm.detect.page import format_scan, format_scan_page, to_facts
    from fomm.detect.scan import scan_file
    from fomm.errors import InputError

    if options.report is not None:
        if options.report.suffix.lower() != ".html":
            raise InputError(f"cannot write {options.report}: a report is a page; the suffix must be .html")
        check_place(options.report, InputError)
        check_is_no_input(options.report, {"file": options.file})
    scan = scan_file(options.file, progress=True)
    if options.json:
        print(json.dumps(to_facts(scan), indent=2))
    else:
        print(format_scan(scan))
    if options.report is not None:
        with atomic_path(options.report, InputError) as temporary:
            temporary.write_text(format_scan_page(scan), encoding="utf-8")
        if not options.json:
            print(f"\n{options.report}: the same with heat maps")
