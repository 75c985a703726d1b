"""What a page is made of, and how it becomes one file that needs nothing else.

No script and no network: styles stand in the page, charts are inline SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from snn_delays.files.atomic import write_atomically

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Figure:
    """A chart, what it shows, and what its colours mean.

    Args:
        svg: the chart, whose own title says what it is.
        caption: what is to be seen in it.
        legend: what each tone of the style sheet stands for.
    """

    svg: str
    caption: str = ""
    legend: Sequence[tuple[str, str]] = ()
    kind: str = "figure"

    @property
    def markup(self) -> Markup:
        return Markup(self.svg)  # of Chart, which escapes what it is given


@dataclass(frozen=True)
class Figures:
    """Charts beside each other where there is room."""

    figures: Sequence[Figure]
    kind: str = "figures"


@dataclass(frozen=True)
class Table:
    """Rows of text under heads; the first column names the row, the others stand to the right.

    Args:
        words: places of other columns that hold words, which stand to the left.
        folded: shown when it is opened.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = ()
    folded: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Commands:
    """Lines for a shell, and what each does."""

    lines: Sequence[tuple[str, str]]
    kind: str = "commands"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    facts: Sequence[tuple[str, str]]
    kind: str = "facts"


Part = Figure | Figures | Table | Text | Heading | Commands | Facts


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading, to which the page's list of contents leads.

    Args:
        name: of the link, a word.
        lead: the finding, in a sentence or two.
    """

    name: str
    title: str
    lead: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        figures: the few numbers that matter most: a name, a value, a remark.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    numbers: Sequence[tuple[str, str, str]] = field(default=())
    foot: str = ""

    def html(self) -> str:
        """The page as text."""
        jinja = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        style = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))
        return jinja.get_template("page.html").render(page=self, style=style)

    def write(self, path: Path) -> None:
        """Write the page to a file, all of it or nothing.

        Raises:
            UsageError: the file system refuses.
        """
        # A path that is no text is escaped.
        write_atomically(path, self.html().encode(errors="xmlcharrefreplace"))
