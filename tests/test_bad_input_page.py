"""docs/bad-input.md tells how many cases there are, and which."""

import re
from collections import Counter

import pytest
from checkout import ROOT


class Collected:
    """A plugin that counts the tests of each file; here, in this process, they are imported already."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.counts = Counter(item.path.relative_to(ROOT).as_posix() for item in session.items)


PAGE = (ROOT / "docs" / "bad-input.md").read_text(encoding="utf-8")


def test_the_page_counts_the_cases():
    table = PAGE.partition("<!-- cases -->")[2].partition("```")[0]
    written = {name: int(count) for name, count in re.findall(r"`(tests/\w+\.py)` \| (\d+) \|", table)}
    collected = Collected()
    options = ["--collect-only", "-q", "-m", "", "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    status = pytest.main([*options, *(str(ROOT / name) for name in written)], plugins=[collected])
    assert status == 0
    assert written == dict(collected.counts)


def test_the_page_names_every_file_of_bad_input():
    files = {f"tests/{path.name}" for path in (ROOT / "tests").glob("test_bad_*.py")}
    assert files - {"tests/test_bad_input_page.py"} <= set(re.findall(r"`(tests/\w+\.py)`", PAGE))
