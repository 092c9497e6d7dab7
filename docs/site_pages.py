"""Pages of the site that are no files of ``docs/``: README, CONTRIBUTING, CHANGELOG, reference.

MkDocs calls the functions here by name (``hooks`` in mkdocs.yml). Links that lead out of ``docs/``
work on the site as they do in the repository.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "storage_schemas", "stages", "workflows")
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def on_config(config: MkDocsConfig) -> None:
    """Replace ``folder/*`` in the navigation by the pages of the folder."""
    for entry in config.nav or ():
        ((title, target),) = entry.items()
        if isinstance(target, str) and target.endswith("/*"):
            folder = target.removesuffix("/*")
            names = _reference() if folder == "reference" else _names(folder)
            entry[title] = [f"{folder}/{name}" for name in names]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that lie elsewhere or are made."""
    made = {target: (ROOT / source).read_text() for source, target in PAGES.items()}
    made["decisions/index.md"] = _index_of_decisions()
    for name, modules in _reference().items():
        text = "".join(f"\n::: {module}\n" for module in modules)
        made[f"reference/{name}"] = f"# {name.removesuffix('.md')}\n{text}"
    for target, text in made.items():
        files.append(File.generated(config, target, content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links as they are in the repository into links of the site."""
    source = {target: name for name, target in PAGES.items()}.get(page.file.src_uri)
    here = Path(source).parent if source else Path("docs", page.file.src_uri).parent

    def turn(match: re.Match[str]) -> str:
        target, anchor = match.group(1), match.group(2) or ""
        path = (ROOT / here / target).resolve()
        if not path.exists() or not path.is_relative_to(ROOT):
            return match.group()  # for MkDocs to complain of
        name = path.relative_to(ROOT).as_posix()
        if name == "docs/decisions":
            return f"](decisions/index.md{anchor})"
        if name in PAGES:
            return f"]({'../' * page.file.src_uri.count('/')}{PAGES[name]}{anchor})"
        if not name.startswith("docs/"):
            return f"]({config.repo_url}/blob/main/{name}{anchor})"
        return f"]({name.removeprefix('docs/')}{anchor})" if source else match.group()

    return re.sub(r"\]\(([^()#:\s]+)(#[^()\s]*)?\)", turn, markdown)


def _names(folder: str) -> list[str]:
    names = sorted(path.name for path in (ROOT / "docs" / folder).glob("*.md"))
    return ["index.md", *names] if folder == "decisions" else names


def _index_of_decisions() -> str:
    lines = ["# Decisions", "", "Goal, options tried, what was decided.", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        title = path.read_text().partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines)


def _reference() -> dict[str, list[str]]:
    """Page -> its modules: one page a folder of code."""
    pages: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__init__.py" and not path.name.startswith("_"):
                parts = path.relative_to(ROOT).with_suffix("").parts
                pages.setdefault(".".join(parts[:-1]) + ".md", []).append(".".join(parts))
    return pages
