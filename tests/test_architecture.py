"""Who may import whom, read from the code; and what a start of the program really loads."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"edgebrain": "edgebrain", "train": "edgebrain.train", "export": "edgebrain.export"}
"""Folder at the top, and the name it is imported as."""

PURE = frozenset({"errors", "types"})
FIGURES = PURE | {"metrics", "calibration", "intervals"}
INPUT = PURE | {"imaging", "resizing", "head", "preprocessing", "readers", "inputs"}
MACHINE = frozenset({"board", "caches", "cpus", "facts", "files", "limits"})
BUNDLE = frozenset({"decision", "graphs", "seal", "manifest", "bundle", "arrays", "heads", "place"})
MODEL = PURE | MACHINE | BUNDLE | {"engines", "device"}
CLASSIFYING = INPUT | MODEL | {"ready", "explain", "classifier", "portions", "side_by_side", "pipeline"}
WRITING = PURE | {"", "files", "outputs", "results"}
REPORTING = FIGURES | {"evaluation", "report"}
RUNTIME = (
    CLASSIFYING
    | WRITING
    | REPORTING
    | {"asked", "labelled", "phantom", "inner", "adapt", "benchmark", "doctor", "selftest", "logs"}
)

ALLOWED: dict[str, frozenset[str]] = {
    # The root hands out names lazily; "" below is its __version__.
    "": PURE | {"bundle", "classifier"},
    "__main__": frozenset({"cli", "errors"}),
    "errors": frozenset(),
    "types": frozenset(),
    "cpus": frozenset(),
    "limits": frozenset(),
    "heap": frozenset(),
    "logs": frozenset({"errors"}),
    "imaging": frozenset({"errors"}),
    "resizing": PURE | {"imaging"},
    "head": PURE | {"imaging", "resizing"},
    "preprocessing": PURE | {"imaging", "resizing", "head"},
    "phantom": PURE | {"imaging"},
    "decision": PURE,
    "explain": PURE | {"imaging"},
    "metrics": PURE,
    "calibration": PURE | {"metrics"},
    "intervals": PURE | {"metrics"},
    "graphs": PURE,
    "seal": frozenset(),
    "migrations": frozenset({"seal"}),
    "manifest": PURE | {"decision", "migrations", "seal"},
    "manifest_rules": PURE | {"manifest"},
    "bundle": PURE | {"graphs", "manifest", "manifest_rules", "seal"},
    "arrays": frozenset(),
    "heads": PURE | {"arrays"},
    "inner": PURE | {"calibration", "metrics", "decision"},
    "place": PURE | {"bundle", "folders"},
    "readers": PURE | {"imaging"},
    "inputs": PURE | {"readers"},
    "files": frozenset({"errors"}),
    "outputs": frozenset({"errors", "files"}),
    "folders": frozenset({"errors", "readers"}),
    "labels": frozenset({"errors", "folders"}),
    "labelled": PURE | {"folders", "labels", "outputs"},
    "asked": frozenset({"labelled"}),
    "board": frozenset(),
    "caches": frozenset({"errors"}),
    "engines": PURE | {"board", "bundle", "caches", "files", "arrays", "heads"},
    "facts": frozenset({"board", "cpus", "engines"}),
    "device": PURE | {"bundle", "engines", "facts", "limits"},
    "ready": INPUT - {"inputs"},
    "classifier": CLASSIFYING,
    "portions": INPUT | {"ready", "classifier"},
    "side_by_side": INPUT | {"ready", "portions", "classifier"},
    "pipeline": CLASSIFYING | {"heap"},
    "results": WRITING,
    "stress": PURE | {"imaging", "preprocessing", "head"},
    "evaluation": FIGURES | CLASSIFYING | {"asked", "labelled", "report", "stress"},
    "report": REPORTING | {"benchmark"},
    "adapt": RUNTIME | {"folders"},
    "benchmark": RUNTIME | {""},
    "doctor": RUNTIME,
    "selftest": RUNTIME,
    "cli": RUNTIME | {"", "folders"},
    # Never engines, classifier, cli or export: training knows pictures and figures, not how they are served.
    "train": FIGURES
    | {
        "",
        "decision",
        "evaluation",
        "stress",  # what a head without its scalp is has one definition
        "folders",
        "preprocessing",
        "readers",
        "imaging",
        "asked",
        "labelled",
        "files",
        "outputs",
        "cpus",
        "heads",
        "inner",
        "report",
    },
    "export": RUNTIME | {"", "folders"},
}
"""What each module or package of ``edgebrain`` may import of ours, imports for type checking included."""

EXPORT_OF_TRAIN = frozenset(
    {
        "models",
        "checkpoint",
        "config",
        "data",
        "commands",
        "edge",  # restoring undoes what these two networks do to themselves for export
        "lite",
        "episodes",
        "few_shot",
        "given_splits",
        "heads",
        "judging",
        "meta_progress",
        "splits",  # puts manifests together that were split on their own
    }
)
"""What of ``train`` the exporters may import."""

HEAVY = frozenset({"torch", "torchvision", "lightning", "torchmetrics", "onnx", "onnxscript"})
"""What only ``train`` and ``export`` may import, wherever in a module."""


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours under its import name; links are not followed, or each would come twice."""
    for folder, package in ROOMS.items():
        for parent, folders, files in os.walk(ROOT / folder):
            folders[:] = [f for f in folders if not (Path(parent) / f).is_symlink()]
            for file in sorted(files):
                path = Path(parent) / file
                if path.suffix == ".py":
                    parts = path.relative_to(ROOT / folder).with_suffix("").parts
                    yield ".".join((package, *parts)).removesuffix(".__init__"), path


MODULES = dict(modules())


def imports(path: Path, package: str) -> Iterator[tuple[str, int]]:
    """Names that a file imports, in full, with their lines; ``import_module`` with a literal counts too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield (whole if whole in MODULES else base), node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value, node.lineno


def package_of(name: str, path: Path) -> str:
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


OTHERS = sorted({*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")})
EVERYTHING = {**{path: package_of(name, path) for name, path in MODULES.items()}, **dict.fromkeys(OTHERS, "tests")}
"""Every file and the package that its relative imports start from."""


def room(name: str) -> str:
    """The row of the table: ``edgebrain.readers.raster`` is in ``readers``, ``edgebrain`` itself is in ``""``."""
    return [*name.split("."), ""][1]


def test_modules_are_found() -> None:
    assert {"edgebrain.errors", "edgebrain.readers.raster", "edgebrain.train.config"} <= set(MODULES)


def test_every_module_has_a_row_in_the_table() -> None:
    assert {room(name) for name in MODULES} - set(ALLOWED) == set(), "say in ALLOWED what the new module may import"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_of_ours_are_allowed(name: str) -> None:
    path = MODULES[name]
    here = room(name)
    wrong = [
        f"{path.name}:{line} imports {target}"
        for target, line in imports(path, package_of(name, path))
        if target.split(".")[0] == "edgebrain" and room(target) not in ALLOWED[here] | {here}
        if not (here == "export" and target.split(".")[1:2] == ["train"] and target.split(".")[2] in EXPORT_OF_TRAIN)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", sorted(n for n in MODULES if room(n) not in ("train", "export")))
def test_runtime_never_imports_the_workshop(name: str) -> None:
    path = MODULES[name]
    found = [
        f"{path.name}:{line} imports {t}"
        for t, line in imports(path, package_of(name, path))
        if t.split(".")[0] in HEAVY
    ]
    assert found == []


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_second_copy_of_a_room(path: Path) -> None:
    # From the root of a checkout `import train.x` works, and makes another module than `edgebrain.train.x`.
    found = [f"{path.name}:{line} imports {t}" for t, line in imports(path, EVERYTHING[path]) if is_room(t)]
    assert found == []


def is_room(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] in ("train", "export")


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nobody_imports_tests_or_benchmarks(name: str) -> None:
    path = MODULES[name]
    assert [t for t, _ in imports(path, package_of(name, path)) if t.split(".")[0] in ("tests", "benchmarks")] == []


def loaded(code: str, *arguments: str, cwd: Path) -> set[str]:
    """Top-level modules in memory after some code ran in a fresh interpreter."""
    program = (
        "import json, sys\nsys.argv[1:] = json.loads(sys.argv[1])\ncode = 0\n"
        f"try:\n    {code}\nexcept SystemExit as end:\n    code = end.code or 0\n"
        "print('\\n' + json.dumps([code, sorted({name.split('.')[0] for name in sys.modules})]))\n"
    )
    # PYTHONPATH, so that the checkout is meant, also where another edgebrain is installed.
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code_and_names = json.loads(done.stdout.splitlines()[-1])
    assert code_and_names[0] == 0, done.stderr
    return set(code_and_names[1])


RUN = "import runpy; runpy.run_module('edgebrain', run_name='__main__')"


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    names = loaded("import edgebrain; edgebrain.__version__", cwd=tmp_path)
    assert "edgebrain" in names
    assert names & {"numpy", "cv2", "onnxruntime", "rich", "typer", "msgspec", *HEAVY} == set()


@pytest.mark.parametrize("arguments", [["--help"], ["classify", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    names = loaded(RUN, *arguments, cwd=tmp_path)
    assert "typer" in names
    assert names & {"numpy", "cv2", "onnxruntime", "openvino", "matplotlib", *HEAVY} == set()


@pytest.mark.skipif(
    not (ROOT / "edgebrain/bundles/edge/manifest.json").is_file(), reason="the bundle 'edge' is not in this checkout"
)
def test_classifying_loads_only_what_it_needs(tmp_path: Path) -> None:
    loaded(RUN, "phantom", "samples", "--count", "1", cwd=tmp_path)
    names = loaded(RUN, "classify", "samples", "--format", "jsonl", "--output", "rows.jsonl", cwd=tmp_path)
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8").count("\n") == 1
    assert {"numpy", "cv2", "onnxruntime"} <= names
    assert names & {"openvino", "tensorrt", "matplotlib", "pydicom", "nibabel", "scipy", "PIL", "rich", *HEAVY} == set()
