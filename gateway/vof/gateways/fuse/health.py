# SPDX-License-Identifier: BSD-3-Clause
"""Health tests of a random stream: NIST SP 800-90B §4.4, repetition count and adaptive proportion.

Pure: bytes in, verdict out. A sample is one byte. The tests look for a source that has failed
(stuck, or strongly biased), not for one that can be predicted: a counter or a repeated alphabet
passes.

``MIN_ENTROPY``, the H of the text, is what is claimed of a source: one bit a byte, far less than
any generator worth the name has, because we know nothing of the one at the other end and the tests
run over gigabytes of it. With the text's ``alpha`` of 2^-20 that gives the cutoffs below; bytes
that are fully random reach the first with probability 2^-160, and the second next to never.
"""

from __future__ import annotations

from math import comb

ALPHA_BITS = 20
"""-log2 of the chance that a source of exactly ``MIN_ENTROPY`` fails where it should not."""

MIN_ENTROPY = 1
"""Bits a sample, a whole number here so that the cutoffs are exact."""

WINDOW = 512
"""Samples of an adaptive proportion window (§4.4.2, samples that are not binary)."""

START_UP_SAMPLES = 1024
"""Samples that must pass before any is handed out (§4.3, requirement 10)."""


def repetition_cutoff(min_entropy: int = MIN_ENTROPY) -> int:
    """Return C of §4.4.1: that many equal samples in a row are a failure."""
    return 1 + -(-ALPHA_BITS // min_entropy)


def proportion_cutoff(min_entropy: int = MIN_ENTROPY) -> int:
    """Return C of §4.4.2: 1 + CRITBINOM(WINDOW, 2^-H, 1 - alpha), by whole numbers.

    So many samples of a window equal to its first are a failure.
    """
    # P(X = k) is comb(n, k) (2^H - 1)^(n - k) / 2^(H n); both sides are multiplied by 2^(H n).
    others = (1 << min_entropy) - 1
    whole = 1 << min_entropy * WINDOW
    wanted = whole - (whole >> ALPHA_BITS)
    total = k = 0
    while True:
        total += comb(WINDOW, k) * others ** (WINDOW - k)
        if total >= wanted:
            return 1 + k
        k += 1


REPETITION_CUTOFF = repetition_cutoff()
PROPORTION_CUTOFF = proportion_cutoff()

_STRIDE = 5


class StreamTests:
    """Both tests on one stream, fed piece by piece."""

    def __init__(self) -> None:
        self.tested = 0
        """Samples seen."""
        self.failure: str | None = None
        """Which test failed, where and how; it stays so."""
        self._tail = b""
        self._window = b""

    def feed(self, samples: bytes) -> bool:
        """Test the next samples of the stream; return whether all is still well."""
        if self.failure is None:
            self.failure = self._repetition(samples) or self._proportion(samples)
            self.tested += len(samples)
        return self.failure is None

    def _repetition(self, samples: bytes) -> str | None:
        joined = self._tail + samples
        self._tail = joined[-(REPETITION_CUTOFF - 1) :]
        # A run leaves its mark on every fifth sample; only where there is one is it worth a look.
        if _run(joined[::_STRIDE], REPETITION_CUTOFF // _STRIDE) < 0:
            return None
        place = _run(joined, REPETITION_CUTOFF)
        if place < 0:
            return None
        return (
            f"repetition count: byte {joined[place]:#04x} came {REPETITION_CUTOFF} times in a row "
            f"(at byte {self.tested + place - len(joined) + len(samples)})"
        )

    def _proportion(self, samples: bytes) -> str | None:
        joined = self._window + samples
        whole = len(joined) // WINDOW * WINDOW
        self._window = joined[whole:]
        # The last window may be unfinished: it can fail already, and is looked at again.
        for start in range(0, len(joined), WINDOW):
            found = joined.count(joined[start], start, start + WINDOW)
            if found >= PROPORTION_CUTOFF:
                return (
                    f"adaptive proportion: byte {joined[start]:#04x} came {found} times in "
                    f"{WINDOW} (at byte {self.tested + start - len(joined) + len(samples)}; "
                    f"{PROPORTION_CUTOFF} are too many)"
                )
        return None


def _run(samples: bytes, length: int) -> int:
    """Return where ``length`` equal samples in a row begin first; -1 if nowhere."""
    # In the difference of the stream and the stream one later, equal neighbours are zeroes.
    number = int.from_bytes(samples)
    difference = (number ^ number >> 8).to_bytes(len(samples))
    return max(-1, difference.find(bytes(length - 1), 1) - 1)
