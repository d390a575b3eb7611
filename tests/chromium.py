"""Chromium for tests, driven by Playwright. A module that imports this is skipped where either is missing."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("needs Chromium: apt-get install chromium", allow_module_level=True)


@contextmanager
def start_chromium() -> Iterator[Callable]:
    """Give a function that starts a browser with these options; all end with the block."""
    with sync_api.sync_playwright() as playwright:
        yield lambda *options: playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *options]
        )
