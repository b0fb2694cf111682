"""HTML to paragraphs of text, without scripts and navigation."""

from __future__ import annotations

import codecs
import re

from lxml import etree

# Everything that is not listed here starts a new paragraph.
_INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark q "
    "rp rt ruby s samp "
    "small span strike strong sub sup td th time tt u var wbr".split()
)
_DROPPED = frozenset(
    "audio button canvas footer form head iframe input math menu nav noscript object script "
    "select style svg "
    "template textarea title video".split()
)
_NAVIGATION_CLASSES = frozenset(
    "breadcrumb breadcrumbs docnav menu nav navbar navfooter navheader navigation "
    "pagination toc".split()
)
_NAVIGATION_ROLES = frozenset(("navigation", "banner", "contentinfo", "search"))
_SPACE = re.compile(r"\s+")
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
# A declared encoding is looked for where the HTML standard looks for it.
_CHARSET_WINDOW = 1024


class HtmlError(ValueError):
    """A page that holds no text we can trust."""


def decode_html(data: bytes) -> str:
    """The page's characters: by its byte order mark, as UTF-8, or in the encoding that it
    declares."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return _decode(data, name).lstrip("\ufeff")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        declared = _CHARSET.search(data[:_CHARSET_WINDOW])
    if declared is None:
        raise HtmlError("not UTF-8, and declares no other encoding")
    return _decode(data, declared.group(1).decode("ascii"))


def _decode(data: bytes, name: str) -> str:
    """Strict decoding; codecs that are no text encodings ("zip", "rot13") count as unknown."""
    try:
        return data.decode(name)
    except (LookupError, UnicodeError) as failure:
        raise HtmlError(f"not valid {name}") from failure


def html_paragraphs(data: bytes) -> list[str]:
    """The page's paragraphs in reading order. Preformatted text keeps its lines. Raises
    HtmlError."""
    markup = decode_html(data)
    if "\0" in markup:
        raise HtmlError("binary data")
    parser = etree.HTMLParser(
        encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(markup.encode("utf-8"), parser)
    except (etree.LxmlError, UnicodeEncodeError) as failure:
        raise HtmlError("cannot be parsed as HTML") from failure
    if len(parser.error_log.filter_from_fatals()) > 0:
        # The parser stopped there (usually at absurd nesting): what follows would be lost silently.
        raise HtmlError(f"damaged HTML: {parser.error_log.filter_from_fatals()[0].message}")
    return [] if root is None else _Paragraphs().of(root)


class _Paragraphs:
    """Collects inline text until a block border. Iterative: nesting costs no stack."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._parts: list[str] = []
        self._preformatted = 0

    def of(self, root: etree._Element) -> list[str]:
        """All paragraphs below root."""
        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            tag = element.tag if isinstance(element.tag, str) else ""
            dropped = _is_dropped(element, tag)
            if event == "start":
                if dropped:
                    walk.skip_subtree()
                else:
                    self._start(element, tag)
            else:
                if not dropped:
                    self._end(tag)
                self._add(element.tail)
        self._flush()
        return self._done

    def _start(self, element: etree._Element, tag: str) -> None:
        if tag == "br":
            self._parts.append("\n")
        elif tag in ("td", "th"):
            self._parts.append(" ")
        elif tag not in _INLINE:
            self._flush()
        self._preformatted += tag == "pre"
        self._add(element.text)

    def _end(self, tag: str) -> None:
        if tag not in _INLINE and tag != "br":
            self._flush()
        self._preformatted -= tag == "pre"

    def _add(self, text: str | None) -> None:
        if text:
            self._parts.append(text if self._preformatted else _SPACE.sub(" ", text))

    def _flush(self) -> None:
        lines = "".join(self._parts).replace("\r\n", "\n").split("\n")
        self._parts.clear()
        kept = [line.rstrip() if self._preformatted else " ".join(line.split()) for line in lines]
        paragraph = "\n".join(line for line in kept if line)
        if paragraph:
            self._done.append(paragraph)


def _is_dropped(element: etree._Element, tag: str) -> bool:
    """Whether an element is navigation, a program, or anything else that nobody reads as text."""
    if tag in _DROPPED or element.get("role") in _NAVIGATION_ROLES:
        return True
    classes = element.get("class")
    return classes is not None and not _NAVIGATION_CLASSES.isdisjoint(classes.lower().split())
