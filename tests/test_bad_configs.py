"""YAML that means harm, is broken or says what a configuration has no use for: refused with one sentence."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
from doors import check_only, check_sentence

from fomm.config import load_config
from fomm.errors import ConfigError

GOOD = (Path(__file__).parent / "golden" / "tiny.yaml").read_text()
MANY = 20_000


def num_kp(value: str) -> str:
    """Return a configuration that is good but for one number."""
    return GOOD.replace("num_kp: 5", f"num_kp: {value}")


def temperature(value: str) -> str:
    assert GOOD.count("temperature: 0.1") == 1
    return GOOD.replace("temperature: 0.1", f"temperature: {value}")


LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnop"))
NOT_SHOWN = "num_kp should lie in 1 to 1024, not what is too long to show"
SHAPE = "dataset_params: {frame_shape: [8, 8, 3]}\n"
BOMBS = {
    "a billion laughs": (LAUGHS, "line 2: an alias"),
    "aliases in a list": ("a: [&x [1], *x]\n", "line 1: an alias"),
    "aliases as keys": ("&x a: 1\n*x : 2\n", "line 2: an alias"),
    "merged aliases": ("a: &x {b: 1}\nc: {<<: *x}\n", "line 2: an alias"),
    "a list that holds itself": ("a: &x [*x]\n", "line 1: an alias"),
    "brackets nested deeply": ("[" * MANY, "RecursionError|expected the node content"),
    "braces nested deeply": ("{a: " * MANY + "1" + "}" * MANY, "larger than"),
    "braces nested a thousand times": ("{a: " * 1000 + "1" + "}" * 1000, "RecursionError"),
    "question marks": ("? " * 9000, "RecursionError"),
    "a long file": ("x" * 200_000, "larger than 100000 bytes"),
    "ten thousand keys": ("{" + ",".join(f"k{i}: 1" for i in range(9000)) + "}", "unknown key k0"),
    "a hexadecimal number without end": (num_kp("0x" + "f" * MANY), NOT_SHOWN),
    "a binary number without end": (num_kp("0b" + "1" * MANY), NOT_SHOWN),
    "a number without end": (num_kp("9" * MANY), r"is not plain YAML \(ValueError\)"),
    "minutes of minutes": (num_kp("1" + ":1" * MANY), NOT_SHOWN),
    "parts of minutes of minutes": (num_kp("1" + ":1" * MANY + ".5"), r"is not plain YAML \(OverflowError\)"),
    "a whole number that no float can hold": (temperature("0x" + "f" * 400), "temperature should be"),
    "a key without end": (GOOD + "? " + "k" * 50_000 + "\n: 1\n", "unknown key kkk"),
}
TAGS = {
    name: (text, "could not determine a constructor for the tag")
    for name, text in {
        "a call": "a: !!python/object/apply:os.system ['touch canary']",
        "a call as the whole": "!!python/object/apply:os.system ['touch canary']",
        "a call in a list": "- !!python/object/apply:subprocess.run [[touch, canary]]",
        "an object": "a: !!python/object:os.environ {}",
        "a new object": "a: !!python/object/new:os.system [touch canary]",
        "a name": "a: !!python/name:os.system",
        "a module": "a: !!python/module:antigravity",
        "a tuple": "a: !!python/tuple [1, 2]",
        "an unknown tag": "model_params: !tag {}",
        "a tag of one's own": "%TAG ! tag:example.org,2000:\n---\na: !foo 1",
    }.items()
}
BROKEN = {
    "nothing": ("", "holds no settings"),
    "a comment": ("# nothing\n", "holds no settings"),
    "a text": ("just a text", "holds no settings"),
    "a list": ("- 1\n- 2\n", "holds no settings"),
    "a list that is not closed": ("a: [1, 2", "line 1: "),
    "a tab": ("a:\n\tb: 1\n", "line 2: .*cannot start any token"),
    "bytes": ("\0\1\2", "not plain YAML"),
    "bytes that are no text": (b"a: \xff\xfe\n", "not plain YAML"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "not plain YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
    "another version": ("%YAML 9.9\n---\na: 1\n", "line 1: found incompatible"),
    "a date that is none": ("a: 2001-99-99", "not plain YAML"),
    "a key given twice": ("seed: 1\nseed: 2\n", "line 2: seed is given twice"),
    "a list as a key": ("? [a, b]\n: 1\n", "line 1: a key should be a text"),
    "a number as a key": ("1: 2\n", "unknown key 1"),
    "nothing as a key": ("~: 2\n", "unknown key None"),
}
WRONG = {
    "an unknown section": (GOOD + "zebra: 1\n", "unknown key zebra; known here: dataset_params"),
    "a mistyped key": (GOOD.replace("num_kp", "num_kps"), r"unknown key .*num_kps \(did you mean num_kp\?\)"),
    "a key that steers the terminal": (GOOD + '"\\e[2J\\n": 1\n', r"unknown key \?\[2J"),
    "a key that steers, given twice": ('"\\e[2J\\n": 1\n"\\e[2J\\n": 1\n', r"line 2: \?\[2J is given twice"),
    "a missing section": ("dataset_params: {frame_shape: [64, 64, 3]}\n", "model_params is missing"),
    "a missing key": (GOOD.replace("num_kp: 5", ""), "num_kp is missing"),
    "a text for a number": (num_kp("five"), "num_kp should be a whole number, not 'five'"),
    "a text that steers": (num_kp('"\\e[2J"'), r"num_kp should be a whole number, not '\\x1b\[2J'"),
    "a fraction": (num_kp("5.0"), r"num_kp should be a whole number, not 5\.0"),
    "true for a number": (num_kp("true"), "num_kp should be a whole number, not True"),
    "nothing for a number": (num_kp(""), "num_kp should be a whole number, not None"),
    "a list for a number": (num_kp("[5]"), r"num_kp should be a whole number, not \[5\]"),
    "a section for a number": (num_kp("{a: 1}"), "num_kp should be a whole number"),
    "a date for a number": (num_kp("2001-01-01"), "num_kp should be a whole number"),
    "bytes for a number": (num_kp("!!binary aGVsbG8="), "num_kp should be a whole number"),
    "a set for a section": (SHAPE + "model_params: !!set {a}\n", r"keys and values, not \{'a'\}"),
    "a number for a section": (SHAPE + "model_params: 3\n", "keys and values, not 3"),
    "none of them": (num_kp("0"), "num_kp should lie in 1 to 1024, not 0"),
    "too many of them": (num_kp("1000000"), "num_kp should lie in 1 to 1024, not 1000000"),
    "fewer than none": (num_kp("-5"), "num_kp should lie in 1 to 1024, not -5"),
    "infinite": (temperature(".inf"), "temperature should be a number, not inf"),
    "no number": (temperature(".nan"), "temperature should be a number, not nan"),
    "1e-1": (temperature("1e-1"), r"not '1e-1' \(write 1\.0e-01 with the point\)"),
}
CASES = {**BOMBS, **TAGS, **BROKEN, **WRONG}
assert len(CASES) == len(BOMBS) + len(TAGS) + len(BROKEN) + len(WRONG), "two cases have one name"


@pytest.mark.parametrize("name", CASES)
def test_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, words = CASES[name]
    path = tmp_path / "bad.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path)
    seconds = time.perf_counter() - start
    assert seconds < 10, f"{seconds:.1f} s"
    check_sentence(caught.value, ConfigError, path)
    check_only(tmp_path, path)


def test_the_good_one_is_taken(tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    assert load_config(tmp_path / "good.yaml").model_params.common_params.num_kp == 5


@pytest.mark.parametrize(
    "name", ["vox-257", "elsewhere/vox-256.yaml", "vox-256.txt", "http://127.0.0.1:9/a.yaml"]
)
def test_names_of_nothing(name):
    with pytest.raises(ConfigError, match=r"does not exist.*fashion-256"):
        load_config(name)
