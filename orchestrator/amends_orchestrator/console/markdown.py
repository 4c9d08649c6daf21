"""Markdown of strangers as HTML: text stays text, links lead away without a referrer, no images.

Raw HTML is shown as it was typed, and an address that is not http, https or mailto is no link.
"""

from typing import Any, Final

from markdown_it import MarkdownIt
from markupsafe import Markup

CHARS_MAX: Final = 50_000
_SCHEMES: Final = ("http://", "https://", "mailto:")


def _made() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20})
    parser.enable("table").disable("image")
    parser.validateLink = _is_safe
    parser.add_render_rule("link_open", _link_open)
    return parser


def _is_safe(url: str) -> bool:
    return url.strip().lower().startswith(_SCHEMES)


def _link_open(self: Any, tokens: Any, n: int, options: Any, env: Any) -> str:
    tokens[n].attrSet("rel", "noreferrer noopener nofollow")
    return str(self.renderToken(tokens, n, options, env))


_PARSER: Final = _made()


def to_html(text: str) -> Markup:
    """Safe to put into a page."""
    cut = text if len(text) <= CHARS_MAX else text[:CHARS_MAX] + "\n\n… cut"
    return Markup(_PARSER.render(cut))  # noqa: S704 - made by the parser above, which escapes
