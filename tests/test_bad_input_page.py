"""docs/bad-input.md tells how many cases there are, and which."""

import re
import subprocess
import sys

from checkout import ROOT

PAGE = (ROOT / "docs" / "bad-input.md").read_text(encoding="utf-8")


def test_the_page_counts_the_cases():
    table = PAGE.partition("<!-- cases -->")[2].partition("```")[0]
    written = {name: int(count) for name, count in re.findall(r"`(tests/\w+\.py)` \| (\d+) \|", table)}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", *written]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    collected = re.findall(r"^(tests/\w+\.py)::", done.stdout, flags=re.M)
    assert written == {name: collected.count(name) for name in written}


def test_the_page_names_every_file_of_bad_input():
    files = {f"tests/{path.name}" for path in (ROOT / "tests").glob("test_bad_*.py")}
    assert files - {"tests/test_bad_input_page.py"} <= set(re.findall(r"`(tests/\w+\.py)`", PAGE))
