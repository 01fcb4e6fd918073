"""Code blocks of a Markdown page: finding them, and running them in a fresh process as a reader would.

    python blocks.py page.md

A block ```python belongs to the page's one namespace. A block with title="path" is a file of the source tree; its path
decides: `__init__.py` is appended to, anything else is written.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)[ \t]*([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title ("" where it has none), its text and the line that its text begins at."""

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order.

    Raises:
        ValueError: if a fence is not closed.
    """
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            match[1],
            title[1] if (title := TITLE.search(match[2])) else "",
            match[3],
            text[: match.start(3)].count("\n") + 1,
        )
        for match in FENCE.finditer(text)
    ]
    if 2 * len(found) != len(re.findall(r"^```", text, re.MULTILINE)):
        raise ValueError(f"{page.name}: every fence must be closed.")
    return found


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def write_files(page: Path, root: Path) -> list[Path]:
    """Put the titled blocks of a page into the source tree below `root`; return their paths."""
    written = []
    for block in blocks(page):
        if block.title:
            path = root / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = path.read_text(encoding="utf-8") if path.name == "__init__.py" else ""
            path.write_text(kept + block.text, encoding="utf-8")
            written.append(path)
    return written


def run(page: Path) -> None:
    """Execute the untitled Python blocks of a page, one after the other, in one namespace."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python" and not block.title:
            # Empty lines above, so that a traceback shows the line of the page.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
