"""Reads and edits protobuf text (recipes) without the schema, keeping comments and layout.

Known: fields with scalars, lists and messages, # comments, string escapes. Not known: Any,
extensions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tool_errors import UsageError, printable, storage_error

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<word>[-+]?[A-Za-z0-9_.][A-Za-z0-9_.+-]*)|(?P<mark>[{}<>\[\]:,;])"""
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_DEPTH = 64
_FILE_BYTES = 16 << 20

Scalar = str | int | float | bool


@dataclass
class Field:
    """One field: its name, value, and where text[begin:end] wrote it."""

    name: str
    value: Scalar | Message
    begin: int
    end: int


@dataclass
class Message:
    """Fields in order. inside is the offset right after the opening brace, close that of the
    closing one."""

    fields: list[Field] = field(default_factory=list)
    inside: int = 0
    close: int = 0

    def all(self, name: str) -> list[Field]:
        """Every field of that name."""
        return [item for item in self.fields if item.name == name]

    def get(self, name: str, default: Scalar | None = None) -> Scalar | None:
        """A scalar field's value; of several the last, as protobuf says."""
        found = self.all(name)
        value = found[-1].value if found else default
        return default if isinstance(value, Message) else value

    def message(self, name: str) -> Message:
        """A message field; an empty one if it is not there."""
        found = [item.value for item in self.all(name) if isinstance(item.value, Message)]
        return found[-1] if found else Message()


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._at = 0
        self._token = ""
        self._kind = ""
        self._begin = 0
        self._end = 0  # of the token before the current one
        self._advance()

    def parse(self) -> Message:
        message = self._message("", 0)
        message.close = len(self._text)
        return message

    def _fail(self, what: str) -> UsageError:
        line = self._text.count("\n", 0, self._begin) + 1
        return UsageError(f"{self._name}:{line}: {what}; want protobuf text such as 'steps: 100'")

    def _advance(self) -> str:
        """Moves to the next token and returns the one left behind."""
        before, self._end = self._token, self._at
        while True:
            self._begin = self._at
            if self._at == len(self._text):
                self._token, self._kind = "", "end"
                return before
            match = _TOKEN.match(self._text, self._at)
            if match is None:
                raise self._fail(f"unexpected '{printable(self._text[self._at])}'")
            self._at = match.end()
            if match.lastgroup != "space":
                self._token, self._kind = match.group(), str(match.lastgroup)
                return before

    def _message(self, closing: str, depth: int) -> Message:
        if depth > _DEPTH:
            raise self._fail(f"nested deeper than {_DEPTH}")
        message = Message(inside=self._end)
        while self._token != closing or self._kind == "string":
            if self._kind != "word":
                raise self._fail(f"'{printable(self._token[:40])}' where a field name belongs")
            begin = self._begin
            name = self._advance()
            for value in self._values(depth):
                message.fields.append(Field(name, value, begin, self._end))
            if self._kind == "mark" and self._token in ",;":
                self._advance()
        message.close = self._begin
        if closing:
            self._advance()
        return message

    def _values(self, depth: int) -> list[Scalar | Message]:
        if self._token == ":" and self._kind == "mark":
            self._advance()
        elif self._token not in ("{", "<"):
            raise self._fail(f"'{printable(self._token[:40])}' where ':' or '{{' belongs")
        if self._token != "[" or self._kind != "mark":
            return [self._value(depth)]
        self._advance()
        values: list[Scalar | Message] = []
        while self._token != "]" or self._kind != "mark":
            values.append(self._value(depth))
            if self._token == ",":
                self._advance()
            elif self._token != "]":
                raise self._fail("a list without ']'")
        self._advance()
        return values

    def _value(self, depth: int) -> Scalar | Message:
        if self._kind == "mark" and self._token in "{<":
            closing = "}" if self._advance() == "{" else ">"
            return self._message(closing, depth + 1)
        if self._kind == "string":
            parts = []
            while self._kind == "string":
                parts.append(_unescape(self._advance()[1:-1]))
            return "".join(parts)
        if self._kind != "word":
            raise self._fail(f"'{printable(self._token[:40])}' where a value belongs")
        return _scalar(self._advance())


def _unescape(text: str) -> str:
    """Octal and hex escapes are bytes of UTF-8."""

    def replace(match: re.Match[str]) -> str:
        digits, octal, letter = match.groups()
        if letter is not None:
            return _LETTERS.get(letter, letter)
        code = int(digits, 16) if digits is not None else int(octal, 8) & 255
        return bytes([code]).decode("utf-8", "surrogateescape")

    raw = _ESCAPE.sub(replace, text).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "replace")


def _scalar(word: str) -> Scalar:
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word


def parse(text: str, name: str) -> Message:
    """Parses text; name is for messages. Raises UsageError with file and line."""
    return _Parser(text, name).parse()


def read(path: Path) -> tuple[str, Message]:
    """A file's text and fields."""
    try:
        if path.stat().st_size > _FILE_BYTES:
            raise UsageError(f"{printable(path)}: over {_FILE_BYTES >> 20} MiB; not a recipe")
        text = path.read_bytes().decode("utf-8")
    except OSError as failure:
        raise storage_error("read", path, failure) from failure
    except UnicodeDecodeError as failure:
        raise UsageError(f"{printable(path)}: not UTF-8 text; want a recipe") from failure
    return text, parse(text, printable(path))


def quoted(text: str) -> str:
    """A string as protobuf text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
