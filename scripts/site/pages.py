"""The documents, and every file they link to, as pages of one site.

Paths stay those of the repository, so that a link is the same on the site, on a code host and in an
editor. What is not Markdown becomes a page that shows it, a folder one that lists it.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BEGIN: Final = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "schemas/README.md")
"""Beside all of `docs/` and of the examples."""
PICTURES: Final = (".svg", ".png", ".jpg", ".gif")
LANGUAGES: Final = {
    ".cpp": "cpp", ".h": "c", ".ino": "cpp", ".m": "matlab", ".py": "python", ".yml": "yaml",
}  # fmt: skip
"""Where the name is not the suffix."""
LINK: Final = re.compile(
    r"^```.*?^```|`[^`\n]+`|(?P<text>!?\[(?:[^\]`]|`[^`]*`)*\]\()(?P<to>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
"""Code, which is left as it is, or a link."""
ELSEWHERE: Final = re.compile(r"[a-z]+:")


class NotBuilt(Exception):
    """A page is wrong; the message says where."""


def gather(root: Path, made: Mapping[str, str]) -> dict[str, str | bytes]:
    """Every page by its path on the site: those made, the documents, and what is linked from them.

    Raises:
        NotBuilt: a link leads to nothing.
    """
    found: dict[str, str | bytes] = {}
    waiting = [*BEGIN, *made]
    files = [*(root / "docs").rglob("*.md"), *root.glob("firmware_examples/*/README.md")]
    waiting += (path.relative_to(root).as_posix() for path in sorted(files))
    while waiting:
        path = waiting.pop()
        if page_of(root, path) in found:
            continue
        if path.endswith(PICTURES):
            found[path] = (root / path).read_bytes()
            continue
        text = made[path] if path in made else _text(root, path)
        found[page_of(root, path)] = _with_links(root, path, text, made)
        for to in _linked(root, path, text):
            if to not in made and not (root / to).exists():
                raise NotBuilt(f"{path} links to {to}, which is not there")
            waiting.append(to)
    return found


def page_of(root: Path, path: str) -> str:
    """Where a file or folder of the repository is shown."""
    folder, _, name = path.rpartition("/")
    if name == "README.md":
        return posixpath.join(folder, "index.md")
    if (root / path).is_dir():
        return posixpath.join(path, "index.md")
    return path if path.endswith((".md", *PICTURES)) else f"{path}.md"


def _text(root: Path, path: str) -> str:
    file = root / path
    if file.is_dir():
        readme = file / "README.md"
        return readme.read_text() if readme.exists() else _listing(file, path)
    text = file.read_text()
    if path.endswith(".md"):
        return text
    language = LANGUAGES.get(file.suffix, file.suffix[1:] or "text")
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"# {path}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _listing(folder: Path, path: str) -> str:
    names = sorted(one.name for one in folder.iterdir() if not one.name.startswith(("__", ".")))
    return "\n".join([f"# {path}", "", *(f"* [{name}]({name})" for name in names), ""])


def _linked(root: Path, path: str, text: str) -> Iterator[str]:
    """Paths in the repository."""
    for link in LINK.finditer(text):
        if link["to"] and not ELSEWHERE.match(link["to"]):
            to = link["to"].partition("#")[0]
            if to:
                yield _resolved(root, path, to)


def _resolved(root: Path, path: str, to: str) -> str:
    folder = path if (root / path).is_dir() else posixpath.dirname(path)
    return posixpath.normpath(posixpath.join(folder, to))


def _with_links(root: Path, path: str, text: str, made: Mapping[str, str]) -> str:
    here = posixpath.dirname(page_of(root, path))

    def linked(link: re.Match[str]) -> str:
        to, hash_, anchor = (link["to"] or "").partition("#")
        if not to or ELSEWHERE.match(to):
            return link[0]
        target = _resolved(root, path, to)
        page = target if target in made else page_of(root, target)
        return f"{link['text']}{posixpath.relpath(page, here or '.')}{hash_}{anchor})"

    return LINK.sub(linked, text)
