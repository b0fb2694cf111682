"""The part of a recipe that names data: written for new token files, or put into an existing
recipe."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import textproto
from tool_errors import UsageError, printable


@dataclass(frozen=True)
class RecipeSource:
    """A source as a recipe names it."""

    id: str
    digest: str
    weight: float


def source_lines(sources: list[RecipeSource], tokenizer_digest: str) -> list[str]:
    """The lines inside data { }."""
    lines = [
        f"source {{ id: {textproto.quoted(s.id)} digest: {textproto.quoted(s.digest)} "
        f"weight: {s.weight:.6g} }}"
        for s in sources
    ]
    return [*lines, f"tokenizer_digest: {textproto.quoted(tokenizer_digest)}"]


def data_block(sources: list[RecipeSource], tokenizer_digest: str) -> str:
    """A data block to paste into a recipe."""
    lines = source_lines(sources, tokenizer_digest)
    return "data {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def edit_recipe(
    base: Path, sources: list[RecipeSource], tokenizer_digest: str, vocab_size: int
) -> str:
    """The text of recipe base with its sources, tokenizer and vocabulary size replaced; everything
    else, comments and the weights of sources it already names included, stays."""
    text, recipe = textproto.read(base)
    name = printable(base)
    model = recipe.message("model")
    if not model.fields:
        raise UsageError(f"{name}: has no model {{ }}; --recipe wants a whole recipe to start from")
    edits: list[tuple[int, int, str]] = []
    sizes = model.all("vocab_size")
    if sizes:
        edits.append((sizes[-1].begin, sizes[-1].end, f"vocab_size: {vocab_size}"))
    else:
        edits.append((model.inside, model.inside, f"\n  vocab_size: {vocab_size}"))
    data = recipe.message("data")
    sources = [dataclasses.replace(s, weight=_weight_in(data, s)) for s in sources]
    if recipe.all("data"):
        edits += _data_edits(text, data, sources, tokenizer_digest)
    else:
        edits.append((len(text), len(text), "\n" + data_block(sources, tokenizer_digest)))
    for begin, end, new in sorted(edits, reverse=True):
        text = text[:begin] + new + text[end:]
    textproto.parse(text, name)
    return text


def _weight_in(data: textproto.Message, source: RecipeSource) -> float:
    """The weight data gives the source, 1 where it says nothing; the source's own if it is new."""
    for field in data.all("source"):
        if isinstance(field.value, textproto.Message) and field.value.get("id") == source.id:
            weight = field.value.get("weight", 1.0)
            return float(weight) if isinstance(weight, (int, float)) else source.weight
    return source.weight


def _data_edits(
    text: str, data: textproto.Message, sources: list[RecipeSource], digest: str
) -> list[tuple[int, int, str]]:
    old = [field for field in data.fields if field.name in ("source", "tokenizer_digest")]
    new = "".join(f"\n  {line}" for line in source_lines(sources, digest))
    edits = [(data.inside, data.inside, new)]
    for field in old:
        begin, end = field.begin, field.end
        # With the field goes the line it stood on alone.
        line = text.rfind("\n", 0, begin) + 1
        if not text[line:begin].strip() and line > data.inside:
            begin = line - 1
        edits.append((begin, end, ""))
    return edits
