"""Write docs/reference/cli.md from the commands themselves: ``python docs/generate_cli.py``.

The page is made from names, types, defaults and help texts, not from the printed help, whose layout changes with the
version of typer.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer.main

from edgebrain.cli.app import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = """# Command line

Made by `python docs/generate_cli.py`; do not edit. Results go to standard output, everything else to standard error.
What the exit codes mean: [exit-codes.md](exit-codes.md).
"""


def render() -> str:
    """The page, as it should be."""
    parts = [HEAD]
    for names, command in walk(typer.main.get_command(app), ("edgebrain",)):
        parts += section(names, command)
    return "\n".join(parts)


def walk(command: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and all below it, with their full names, in the order of the help."""
    yield names, command
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from walk(inner, (*names, name))


def section(names: tuple[str, ...], command: Any) -> list[str]:
    """One command: usage, what it does, its arguments and options."""
    shown = [p for p in command.params if not getattr(p, "hidden", False) and not p.name.endswith("_completion")]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option"]
    kinds = get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    values = {p.name: metavar(p, kinds.get(p.name)) for p in shown}
    tail = ["COMMAND [ARGS]..."] if hasattr(command, "commands") else [usage_of(p, values[p.name]) for p in arguments]
    usage = " ".join([*names, *(["[OPTIONS]"] if options else []), *tail])
    lines = [f"## {' '.join(names)}", "", "```text", usage, "```", "", *prose(command.help or ""), ""]
    rows = [(values[p.name], p) for p in arguments] + [(spelling(p, values[p.name]), p) for p in options]
    if rows:
        lines += ["| Argument or option | Meaning |", "|---|---|"]
        lines += [f"| `{escape(name)}` | {escape(meaning(p))} |" for name, p in rows]
        lines.append("")
    return lines


def prose(text: str) -> Iterator[str]:
    """Help as Markdown: indented lines are examples."""
    quoted = False
    lines = text.replace("\b", "").splitlines()
    for index, line in enumerate(lines):
        example = line.startswith("  ") or (quoted and not line and any(f.startswith("  ") for f in lines[index + 1 :]))
        if example != quoted:
            yield "```sh" if example else "```"
            quoted = example
        if not (quoted and not line):
            yield line.strip() if quoted else line
    if quoted:
        yield "```"


def metavar(param: Any, annotation: Any) -> str:
    """Placeholder of a value: the one that was given, the choices, or what kind of value it is."""
    if param.metavar:
        return str(param.metavar)
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return "|".join(str(member.value) for member in kind)
    if param.param_type_name == "argument":
        return str(param.name).upper()
    known = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}
    return next((known[kind] for kind in (annotation, *get_args(annotation)) if kind in known), "VALUE")


def usage_of(argument: Any, name: str) -> str:
    """An argument in the usage line: in brackets if it may be left out."""
    several = "..." if argument.nargs == -1 and not name.endswith("...") else ""
    return f"{name}{several}" if argument.required else f"[{name}{several}]"


def spelling(option: Any, value: str) -> str:
    """All names of an option, and its placeholder if it takes a value."""
    names = ", ".join(sorted(option.opts, key=len) + list(option.secondary_opts))
    return names if option.is_flag or option.count else f"{names} {value}"


def meaning(param: Any) -> str:
    """Help text, then what holds if it is not given."""
    text = str(getattr(param, "help", None) or "")
    notes = ["may be repeated"] if param.param_type_name == "option" and param.multiple else []
    default = plain(param.default)
    if param.required and param.param_type_name == "option":
        notes.append("required")
    elif isinstance(default, (str, int, float)) and not isinstance(default, bool):
        notes.append(f"default: {default}")
    return f"{text} ({'; '.join(notes)})" if notes else text


def plain(value: object) -> object:
    """The value of an enum's member, or the thing itself."""
    return value.value if isinstance(value, enum.Enum) else value


def escape(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
