"""The documentation says what is so: commands parse, links lead somewhere, names exist, the reference is up to date."""

from __future__ import annotations

import ast
import itertools
import re
import runpy
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from edgebrain.bundle import Artifact, GraphSpec, Manifest, SecondReader
from edgebrain.decision import DecisionSpec
from edgebrain.errors import EdgebrainError
from edgebrain.seal import SEAL
from edgebrain.types import InputSpec

ROOT = Path(__file__).parents[1]
PAGES = sorted(p for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("edgebrain/bundles/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SEPARATORS = {"|", "||", "&", "&&", ";", "(", ")"}
REDIRECTIONS = {">", ">>", "<", "2>", "&>"}


class Line(NamedTuple):
    """One command line of a page."""

    page: str
    words: tuple[str, ...]


@cache
def cli() -> Any:
    from edgebrain.cli.app import app

    return typer.main.get_command(app)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shell_commands(text: str) -> Iterator[list[str]]:
    """Simple commands of a shell snippet: prompts, comments, pipes and redirections taken apart."""
    for line in text.replace("\\\n", " ").splitlines():
        if "edgebrain " not in line:
            continue
        lexer = shlex.shlex(line.removeprefix("$ ").strip(), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if word in SEPARATORS:
                yield words
                words = []
            elif word in REDIRECTIONS:
                skip = True
            elif skip:
                skip = False
            else:
                words.append(word)


def lines_of(page: Path) -> Iterator[Line]:
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in ("", "sh", "bash", "console", "shell"):
            for words in shell_commands(block):
                command = list(itertools.dropwhile(re.compile(r"\w+=.*|sudo|time|nice").fullmatch, words))
                if command and command[0].rpartition("/")[2] == "edgebrain":
                    yield Line(page_name(page), tuple(command[1:]))


LINES = [line for page in PAGES for line in lines_of(page)]


def find_command(words: tuple[str, ...]) -> tuple[Any, list[str]]:
    """The command that a line names, and what is left for it."""
    command, name, rest = cli(), "edgebrain", list(words)
    while rest and hasattr(command, "commands"):
        options = {spelling for p in command.params for spelling in (*p.opts, *p.secondary_opts)}
        while rest and rest[0].startswith("-"):
            option = rest.pop(0)
            assert option in options or option in ("--help", "-h"), f"{name} has no option {option}"
        if rest:
            name = rest.pop(0)
            assert name in command.commands, f"there is no command {name!r}; there are {', '.join(command.commands)}"
            command = command.commands[name]
    return command, rest


def parse(words: tuple[str, ...]) -> None:
    """Parse a command line as the program would, without running it; raises what the parser raises."""
    command, rest = find_command(words)
    if not hasattr(command, "commands") and not {"--help", "-h"} & set(rest):
        command.make_context(command.name, rest)


def test_pages_have_command_lines() -> None:
    assert len(LINES) >= 5


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.page}: {' '.join(line.words)}")
def test_command_lines_parse(line: Line) -> None:
    parse(line.words)


@pytest.mark.parametrize(
    "words", [("clasify", "a.png"), ("classify", "--no-such", "a"), ("classify", "-f", "xml", "a")]
)
def test_wrong_command_lines_do_not_parse(words: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match=r"no command|[Nn]o such option|not one of"):
        parse(words)


def without_code(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(without_code(page)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        path = page.parent / target if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


def defined_in(path: Path) -> set[str]:
    """Names at the top level of a module, without running it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {t.id for t in targets if isinstance(t, ast.Name)}
    return names


def exists(dotted: str) -> bool:
    """Whether ``edgebrain.a.b.Name`` is a module, or a name that a module defines."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:length])
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if path.is_file():
            return length == len(parts) or set(parts[length:]) <= defined_in(path)
    return False


def test_names_are_told_apart() -> None:
    assert exists("edgebrain.results.records.to_json")
    assert exists("edgebrain.train.config")
    assert not exists("edgebrain.results.records.no_such_name")
    assert not exists("edgebrain.no_such_module.x")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_names_exist(page: Path) -> None:
    missing = []
    for code in INLINE.findall(without_code(page)):
        if re.fullmatch(r"edgebrain(\.\w+)+(\(\))?", code):
            missing += [] if exists(code.removesuffix("()")) else [code]
        elif re.fullmatch(r"(edgebrain|train|export|tests|docs|benchmarks)/[\w./-]+\.(py|toml|json|md|txt)", code):
            missing += [] if (ROOT / code).exists() else [code]
        elif re.match(r"edgebrain [a-z]", code):
            find_command(tuple(word for word in code.split()[1:] if re.fullmatch("[a-z]+", word)))
        elif re.match(r"make [a-z]", code):
            missing += [] if f"\n{code.split()[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8") else [code]
    assert missing == []


def test_command_reference_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs/generate_cli.py"))
    assert page["PAGE"].read_text(encoding="utf-8") == page["render"](), "run: make docs"


def test_index_lists_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md") if p.name != "index.md"]
    assert [page for page in pages if f"({page})" not in index] == []


def every_error(kind: type[EdgebrainError] = EdgebrainError) -> Iterator[type[EdgebrainError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from every_error(inner)


@pytest.mark.parametrize("kind", list(every_error()), ids=str)
def test_every_error_is_in_the_table_of_exit_codes(kind: type[EdgebrainError]) -> None:
    page = (ROOT / "docs/reference/exit-codes.md").read_text(encoding="utf-8")
    rows = [row for row in page.splitlines() if row.startswith(f"| `{kind.__name__}` ")]
    assert len(rows) == 1
    assert [cell.strip() for cell in rows[0].split("|")[2:4]] == [f"`{kind.code}`", str(kind.exit_code)]


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        (Manifest, ""),
        (GraphSpec, "graph."),
        (DecisionSpec, "decision."),
        (Artifact, "artifacts[]."),
        (InputSpec, "input."),
        (SecondReader, "second_reader."),
    ],
)
def test_every_field_of_the_manifest_is_described(kind: Any, prefix: str) -> None:
    page = (ROOT / "docs/reference/bundle.md").read_text(encoding="utf-8")
    fields = [*kind.__annotations__, *([SEAL] if kind is Manifest else [])]
    assert [f"{prefix}{name}" for name in fields if f"\n| `{prefix}{name}` |" not in page] == []
    named = re.findall(rf"^\| `{re.escape(prefix)}(\w+)` \|", page, re.MULTILINE)
    assert set(named) == set(fields)
