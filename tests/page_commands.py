"""The commands that the pages show."""

import re
import shlex


def shell_commands(text: str, *, inline: bool = True) -> list[list[str]]:
    """Return the commands in the fenced blocks marked ``sh``, split into words.

    ``inline``: also those in `fomm ...` within a line.
    """
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    if inline:
        lines += re.findall(r"`(fomm [^`\n]+)`", text)
    return [shlex.split(part, comments=True) for line in lines for part in line.split("&&") if part.strip()]


def fomm_arguments(words: list[str]) -> list[str]:
    """Return what a command passes to fomm; nothing where it starts another program."""
    for place, word in enumerate(words):
        before = words[:place]
        if word.rpartition("/")[2] == "fomm" and (
            before[-1:] == ["-m"] or all("=" in part for part in before)
        ):
            return words[place + 1 :]
    return []
