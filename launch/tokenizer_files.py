"""tokenizer.json: training a byte-level BPE, loading one, and its end-of-document token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tool_errors import UsageError, printable, storage_error

END_OF_DOCUMENT = "<|endoftext|>"
_KNOWN_ENDS = (END_OF_DOCUMENT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>")
_SMALLEST = 257  # every byte, and the end of a document
_LARGEST = 1 << 20
_FILE_BYTES = 256 << 20


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> bytes:
    """A byte-level BPE as the bytes of a tokenizer.json. A pure function of the texts: pairs that
    occur equally often are merged in the order of their ids."""
    if not _SMALLEST <= vocab_size <= _LARGEST:
        raise UsageError(f"--train-tokenizer {vocab_size}: want {_SMALLEST} to {_LARGEST} entries")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        # Sorted: the library's own order of the 256 byte letters is not fixed.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str(pretty=True).encode("utf-8")


class DocumentTokenizer:
    """Turns documents into token ids, each ended by the end-of-document token."""

    def __init__(self, data: bytes, name: str, end_of_document: str | None = None) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(data.decode("utf-8"))
        except Exception as failure:  # the library raises nothing narrower
            reason = " ".join(str(failure).split())[:200]
            raise UsageError(
                f"{name}: not a tokenizer.json of Hugging Face tokenizers: {reason}"
            ) from failure
        # Text that spells a special token is text: it must not end documents.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.data = data
        self.sha256 = hashlib.sha256(data).hexdigest()
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        # Ids need not be dense: the model needs a row for the largest.
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        self.end_of_document = _find_end(vocabulary, name, end_of_document)

    def encode(self, texts: list[str]) -> Iterator[list[int]]:
        """The ids of each text, end-of-document token included. Runs on the library's threads."""
        for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            yield [*encoding.ids, self.end_of_document]

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of the beginning of a document."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def token(self, index: int) -> str:
        """A token's text in the vocabulary."""
        return str(self._tokenizer.id_to_token(index))

    def decode(self, ids: list[int]) -> str:
        """The text of ids; special tokens vanish, and broken UTF-8 becomes U+FFFD."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)


def load_tokenizer(path: Path, end_of_document: str | None = None) -> DocumentTokenizer:
    """Reads a tokenizer.json. Raises UsageError if it is none."""
    try:
        if path.stat().st_size > _FILE_BYTES:
            raise UsageError(
                f"{printable(path)}: over {_FILE_BYTES >> 20} MiB; not a tokenizer.json"
            )
        return DocumentTokenizer(path.read_bytes(), printable(path), end_of_document)
    except OSError as failure:
        raise storage_error("read", path, failure) from failure


def _find_end(vocabulary: dict[str, int], name: str, wanted: str | None) -> int:
    for token in (wanted,) if wanted is not None else _KNOWN_ENDS:
        if token in vocabulary:
            return vocabulary[token]
    if wanted is not None:
        raise UsageError(
            f"{name}: has no token '{printable(wanted)}'; name one it has with --end-of-document"
        )
    raise UsageError(
        f"{name}: has none of {' '.join(_KNOWN_ENDS)}; name one it has with --end-of-document"
    )
