"""What a mark says, in 64 bits: fomm and the format's version, 24 bits of the weights' hash, a random number.

The 64 bits and 16 check bits go through a convolutional code of rate 1/6, so that a mark is read of which
much was lost. The code is the one of constraint length 15 that flew on Mars Pathfinder, closed to a ring: the
80 bits have no beginning and no end.
"""

import binascii
import re
import secrets
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from fomm.errors import InputError, shown

FORMAT = 0xF1  # the first eight bits of every mark: fomm, first version of the format
BITS = 80  # 64 of the payload and 16 of the check
CODED_BITS = 480
CHECKED_BITS = (
    24  # that tell a mark from chance: the check, and the first eight bits, which are always the same
)

_GENERATORS = (0o46321, 0o51271, 0o63667, 0o70535, 0o73277, 0o76513)
_MEMORY = 14  # bits that the code remembers
_STATES = 1 << _MEMORY


@dataclass(frozen=True)
class Origin:
    """What a mark says.

    Attributes:
        weights: the first six hexadecimal digits of the SHA-256 of the weights; zeros where it is not known.
        number: a random number of eight hexadecimal digits, the same in all frames of one result.
    """

    weights: str = "000000"
    number: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        for name, digits in (("weights", 6), ("number", 8)):
            if not re.fullmatch(f"[0-9a-f]{{{digits}}}", getattr(self, name)):
                raise InputError(
                    f"{name} is {shown(getattr(self, name))}; expected {digits} hexadecimal digits"
                )

    @classmethod
    def of(cls, weights_hash: str | None) -> "Origin":
        """Return an origin with a new number; ``weights_hash`` is hexadecimal, or None if not known."""
        return cls() if weights_hash is None else cls(weights_hash[:6].lower())


def encode(origin: Origin) -> np.ndarray:
    """Return the 480 coded bits of a mark, int8 in {0, 1}."""
    payload = bytes([FORMAT]) + bytes.fromhex(origin.weights + origin.number)
    bits = np.unpackbits(np.frombuffer(payload + _check(payload), np.uint8)).astype(np.int64)
    ages = np.arange(_MEMORY + 1)  # of the bits that the code sees at once: 0 is the newest
    seen = bits[np.arange(BITS)[:, None] - ages]  # 80x15
    registers = (seen << (_MEMORY - ages)).sum(1)
    return np.stack([_parity(registers & generator) for generator in _GENERATORS], 1).ravel()


def decode(soft: np.ndarray) -> Origin | None:
    """Return what a mark says, or None where its check fails, as it does where there is none.

    ``soft`` has a number for each of the 480 coded bits: above zero for a 0, below for a 1, the farther the
    surer. By chance the check passes once in 2 to the power of ``CHECKED_BITS``.
    """
    found = np.packbits(_find_likeliest(soft.reshape(BITS, len(_GENERATORS)))).tobytes()
    payload, check = found[:8], found[8:]
    if payload[0] != FORMAT or check != _check(payload):
        return None
    digits = payload[1:].hex()
    return Origin(digits[:6], digits[6:])


def _check(payload: bytes) -> bytes:
    return binascii.crc_hqx(payload, 0xFFFF).to_bytes(2, "big")


def _parity(words: np.ndarray) -> np.ndarray:
    for shift in (8, 4, 2, 1):
        words = words ^ words >> shift
    return (words & 1).astype(np.int8)


@cache
def _transitions() -> tuple[np.ndarray, ...]:
    """Return for each state, for 0 and 1 as the bit that it forgets, the state before and the output.

    A state is the last 14 bits, the newest highest. An output is a number of six bits.
    """
    states = np.arange(_STATES)
    newest = states >> (_MEMORY - 1) << _MEMORY
    before, outputs = [], []
    for forgotten in (0, 1):
        state = states << 1 & (_STATES - 1) | forgotten
        signs = [_parity((newest | state) & generator) for generator in _GENERATORS]
        before.append(state)
        outputs.append(np.packbits(signs, axis=0, bitorder="little")[0].astype(np.intp))
    return *before, *outputs


def _find_likeliest(soft: np.ndarray) -> np.ndarray:
    """Return the likeliest bits, by Viterbi's algorithm: twice around the ring, of which the middle is kept.

    ``soft``: 80x6. Returns 80 bits, uint8.
    """
    before0, before1, output0, output1 = _transitions()
    signs = 1 - 2 * (np.arange(64)[:, None] >> np.arange(6) & 1)  # of each output, 64x6
    scores = (soft @ signs.T).astype(np.float32)  # 80x64
    metric = np.zeros(_STATES, np.float32)
    chosen = []
    for step in (*scores, *scores):
        zero, one = metric[before0] + step[output0], metric[before1] + step[output1]
        chosen.append(one > zero)
        metric = np.maximum(zero, one)
    state, bits = int(metric.argmax()), np.zeros(2 * BITS, np.uint8)
    for index in reversed(range(2 * BITS)):
        bits[index] = state >> (_MEMORY - 1)
        state = (state << 1 & (_STATES - 1)) | int(chosen[index][state])
    half = BITS // 2
    return np.concatenate([bits[BITS : BITS + half], bits[half:BITS]])
