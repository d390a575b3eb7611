"""``fomm web``."""

import argparse
import sys

from fomm.animation.option_table import COMPUTATION, group_options
from fomm.commands.options import add_options, add_weights, choose_compute, given_options

LOCAL = "127.0.0.1"  # this machine alone
PORT = 7860


def add_web(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm web``, and what it calls."""
    group = parser.add_argument_group("where the page is")
    group.add_argument("--port", metavar="N", type=int, default=PORT, help="of this machine")
    group.add_argument(
        "--host", metavar="ADDRESS", default=LOCAL,
        help="of this machine; any other than the default lets other machines in",
    )  # fmt: skip
    group.add_argument(
        "--share", action="store_true",
        help="a public link by Gradio's servers; whoever has it can use the page",
    )  # fmt: skip
    add_weights(parser)
    add_options(parser, only=COMPUTATION)
    parser.set_defaults(run=_web)


def _web(options: argparse.Namespace) -> None:
    from fomm.web.server import check_gradio

    check_gradio()  # before the networks are loaded
    from fomm.checkpoint import load_checkpoints
    from fomm.web import start_server

    for opened, why in ((options.host != LOCAL, f"--host {options.host}"), (options.share, "--share")):
        if opened:
            text = "lets others use the page, this machine's time and its disk; it asks for no password"
            print(f"fomm: warning: {why} {text}", file=sys.stderr)
    networks = load_checkpoints(options.config, options.checkpoint, device=options.device)
    compute = choose_compute(networks, group_options(given_options(options))["compute"])
    with start_server(
        *networks, host=options.host, port=options.port, share=options.share, compute=compute
    ) as server:
        print(f"the page is at {server.url}; Ctrl-C ends it", flush=True)
        server.wait()
