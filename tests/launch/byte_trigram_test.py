"""launch/byte_trigram.py: a proper distribution, and the same bits as a slow obvious model."""

from __future__ import annotations

import math
import random
import unittest
from collections import Counter

import numpy as np
import tool_case  # noqa: F401  sets the path
from byte_trigram import SMOOTHINGS, ByteTrigram, _Levels


def slow_bits(train: list[bytes], held: list[bytes], k: float) -> float:
    """The definition, one byte at a time."""
    stream = b"\0\0" + b"".join(document + b"\0" for document in train)
    counts = [Counter(), Counter(), Counter()]
    for i in range(2, len(stream)):
        for n in range(3):
            counts[n][stream[i - n : i], stream[i]] += 1
    bits = 0.0
    test = b"\0\0" + b"".join(document + b"\0" for document in held)
    for i in range(2, len(test)):
        p = 1 / 256
        for n in range(3):
            context = test[i - n : i]
            row = {c: count for (seen, c), count in counts[n].items() if seen == context}
            total = sum(row.values())
            if total:
                p = (row.get(test[i], 0) + k * len(row) * p) / (total + k * len(row))
        bits -= math.log2(p)
    return bits


class ByteTrigramTest(unittest.TestCase):
    def test_bits_are_those_of_the_definition_with_its_best_smoothing(self) -> None:
        draw = random.Random(3)
        texts = [bytes(draw.choices(b"abcd \xc3", k=40)) for _ in range(12)]
        model = ByteTrigram()
        model.add(texts[:9])
        expected = min(slow_bits(texts[:9], texts[9:], k) for k in SMOOTHINGS)
        self.assertAlmostEqual(model.bits(texts[9:]), expected, places=6)

    def test_probabilities_sum_to_one_in_any_context(self) -> None:
        model = ByteTrigram()
        model.add([b"the cat sat on the mat", "Größe".encode()])
        levels = _Levels(model._counts)
        for context in (b"th", b"zz", b"\0\0", b"ez"):
            codes = (context[0] << 16 | context[1] << 8) + np.arange(256)
            self.assertAlmostEqual(float(levels.probability(codes, 1.0).sum()), 1.0, places=12)

    def test_unseen_text_costs_eight_bits_and_repeated_text_little(self) -> None:
        self.assertAlmostEqual(ByteTrigram().bits([b"abcdefg"]), 64.0)
        model = ByteTrigram()
        model.add([b"abcdefgh" * 1000])
        self.assertLess(model.bits([b"abcdefgh" * 100]) / 800, 0.05)

    def test_merged_counts_equal_counts_of_both(self) -> None:
        both, left, right = ByteTrigram(), ByteTrigram(), ByteTrigram()
        left.add([b"first text"])
        right.add([b"second text"])
        both.add([b"first text", b"second text"])
        left.merge(right)
        self.assertAlmostEqual(left.bits([b"third text"]), both.bits([b"third text"]))

    def test_chunks_do_not_change_the_counts(self) -> None:
        import byte_trigram

        text = [bytes(random.Random(i).choices(b"xyz", k=100)) for i in range(50)]
        whole, chunked = ByteTrigram(), ByteTrigram()
        whole.add(text)
        size, byte_trigram._CHUNK = byte_trigram._CHUNK, 7
        try:
            chunked.add(text)
        finally:
            byte_trigram._CHUNK = size
        # The zero bytes before the first document stand there once, whatever the chunks.
        self.assertTrue((whole._counts == chunked._counts).all())


if __name__ == "__main__":
    unittest.main()
