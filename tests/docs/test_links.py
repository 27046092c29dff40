"""Links between pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def pages(root: Path) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def anchors(page: str) -> set[str]:
    """What GitHub makes of the headings: lower case, spaces to hyphens, punctuation gone; a repeated one gets a number."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", page)):
        name = stem = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(
            " ", "-"
        )
        number = 0
        while name in found:
            number += 1
            name = f"{stem}-{number}"
        found.add(name)
    return found


def links(page: Path) -> list[str]:
    """Relative targets, those within the page included."""
    found = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def broken(page: Path) -> list[str]:
    """Links of a page to files that are not there, or to headings that the file does not have."""
    wrong = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (
            anchor and (target.suffix != ".md" or anchor not in anchors(target.read_text(encoding="utf-8")))
        ):
            wrong.append(link)
    return wrong


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    found = {str(page.relative_to(ROOT)): broken(page) for page in pages(ROOT)}
    assert {page: wrong for page, wrong in found.items() if wrong} == {}


def test_there_are_links_to_look_at() -> None:
    """If this fails, the test above has looked at nothing."""
    assert len(links(ROOT / "README.md")) >= 3
    assert sum(len(links(page)) for page in pages(ROOT)) >= 20


@pytest.mark.parametrize(
    ("link", "works"),
    [
        ("other.md", True),
        ("other.md#the-end", True),
        ("gone.md", False),
        ("other.md#the-beginning", False),
        ("#own", True),
    ],
)
def test_a_broken_link_is_found(link: str, works: bool, tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Other\n\n## The `end`!\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Own\n\nsee [it]({link}) and [that](https://example.org/gone)\n\n```\n[not](a-link.md)\n```\n")
    assert broken(page) == ([] if works else [link])
