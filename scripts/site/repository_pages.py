"""A hook of MkDocs: pages that lie elsewhere in the repository, and links that lead out of docs/.

A page of docs/ is read in two places. On a code host its links are files of the repository; on the
site they must be pages. Links to files that have no page there keep their text alone, or lead to
``repo_url`` if the site has one. A link that leads nowhere stays as it is: MkDocs then complains.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# File of the repository → the site's page that shows it.
ELSEWHERE = {
    "README.md": "index.md",
    "datasets/README.md": "data-sets.md",
    "scripts/examples/README.md": "examples.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
_ORIGIN = {page: path for path, page in ELSEWHERE.items()}
_LINK = re.compile(r"\[(?P<text>(?:[^][]|\[[^]]*\])*)\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: Any) -> str:
    here = page.file.src_uri
    origin = posixpath.dirname(_ORIGIN.get(here, f"docs/{here}"))

    def on_site(link: re.Match[str]) -> str:
        path, hash_, anchor = link["target"].partition("#")
        there = posixpath.normpath(posixpath.join(origin, path))
        if not path or re.match(r"\w+:", path) or not (ROOT / there).exists():
            return link[0]
        uri = ELSEWHERE.get(there, there.removeprefix("docs/") if there.startswith("docs/") else "")
        if uri:
            target = posixpath.relpath(uri, posixpath.dirname(here) or ".")
        elif config.repo_url:
            target = f"{config.repo_url.rstrip('/')}/blob/main/{there}"
        else:
            return link["text"]
        return f"[{link['text']}]({target}{hash_}{anchor})"

    parts = _CODE.split(markdown)  # every second one is code
    return "".join(part if n % 2 else _LINK.sub(on_site, part) for n, part in enumerate(parts))
