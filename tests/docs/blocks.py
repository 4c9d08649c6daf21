"""Code blocks of Markdown files, with what a comment above them says about running them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"(?:^<!-- test: (?P<test>[^>]*?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
EXIT = re.compile(r"exit (\d+)")


@dataclass(frozen=True)
class Block:
    """One block; `mode` is `run`, `background`, or empty where it is only shown."""

    file: str
    line: int
    language: str
    code: str
    mode: str
    exit_code: int


def blocks(file: str, language: str) -> Iterator[Block]:
    """The blocks of one language, in their order."""
    text = (ROOT / file).read_text()
    for match in BLOCK.finditer(text):
        if match["language"] != language:
            continue
        said = match["test"] or ""
        wanted = EXIT.search(said)
        yield Block(
            file=file,
            line=text.count("\n", 0, match.start("code")) + 1,
            language=language,
            code=match["code"],
            mode=said.partition(",")[0],
            exit_code=int(wanted[1]) if wanted else 0,
        )
