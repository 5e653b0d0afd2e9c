"""What is installed: the list of packages, the dependencies of each part, and the contents of the wheel."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import edgebrain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
ROOMS = {"edgebrain": "edgebrain", "train": "edgebrain.train", "export": "edgebrain.export"}
MAX_WHEEL_BYTES = 10_000_000

# Distribution that brings a module, where the names differ.
DISTRIBUTIONS = {"cv2": "opencv-python", "PIL": "pillow"}
# What each part may import beyond the base dependencies: the extra it stands in.
EXTRA_OF = {"train": "train", "export": "export", "edgebrain": ""}
# Modules of the runtime that import an optional part when it is asked for.
OPTIONAL = {
    "canvas.py": "report",
    "dicom.py": "dicom",
    "nifti.py": "nifti",
    "ov.py": "openvino",
    "trt_library.py": "tensorrt",
    "to_openvino.py": "openvino",
    "to_tensorrt.py": "tensorrt",
}


def read_pyproject() -> dict[str, Any]:
    tree: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return tree


PYPROJECT = read_pyproject()
PROJECT = PYPROJECT["project"]


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found.group().lower()


def names_of(extra: str) -> set[str]:
    """Distributions of an extra, with those of the extras it names."""
    names = set()
    for requirement in PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]:
        inner = re.fullmatch(r"edgebrain\[(.*)\]", requirement)
        names |= set().union(*map(names_of, inner.group(1).split(","))) if inner else {name_of(requirement)}
    return names


def package_folders() -> dict[str, Path]:
    """Import name and folder of each folder that holds modules; links are not followed."""
    found = {}
    for folder, package in ROOMS.items():
        for parent, folders, files in os.walk(ROOT / folder):
            folders[:] = [f for f in folders if not (Path(parent) / f).is_symlink()]
            if any(file.endswith(".py") for file in files):
                parts = Path(parent).relative_to(ROOT / folder).parts
                found[".".join((package, *parts))] = Path(parent)
    return found


def test_every_package_is_listed() -> None:
    # A forgotten one works in an editable installation and is missing from the wheel.
    assert sorted(PYPROJECT["tool"]["setuptools"]["packages"]) == sorted(package_folders())


def test_every_package_has_an_init() -> None:
    assert [name for name, folder in package_folders().items() if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("half", ["train", "export"])
def test_links_are_relative(half: str) -> None:
    assert (ROOT / "edgebrain" / half).readlink() == Path("..", half)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
@pytest.mark.parametrize("half", ["train", "export"])
def test_links_are_committed_as_links(half: str) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--stage", f"edgebrain/{half}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert listed.stdout.startswith("120000 ")


def test_base_dependencies_are_light() -> None:
    assert names_of("") == {"numpy", "opencv-python", "onnxruntime", "typer", "rich", "msgspec"}


APART = {"tensorrt", "dicom", "nifti"}
"""Extras that ``all`` leaves out: a device's own library, and readers to come."""


def test_all_is_everything_that_does_something() -> None:
    # TensorRT comes with the device on a Jetson; no other extra may pull in another copy.
    extras = PROJECT["optional-dependencies"]
    assert names_of("all") == set().union(*(names_of(extra) for extra in set(extras) - {"all"} - APART))
    assert [extra for extra in extras if "tensorrt" in names_of(extra)] == ["tensorrt"]


def test_no_rival_builds_of_one_library() -> None:
    # They overwrite each other's files.
    every = set().union(names_of(""), *(names_of(extra) for extra in PROJECT["optional-dependencies"]))
    assert every & {"onnxruntime-gpu", "opencv-python-headless", "opencv-contrib-python"} == set()


def test_every_requirement_has_a_lower_bound_and_no_upper_one() -> None:
    requirements = [*PROJECT["dependencies"], *chain.from_iterable(PROJECT["optional-dependencies"].values())]
    bounds = {r.split(";")[0].strip() for r in requirements if not r.startswith("edgebrain[")}
    assert [bound for bound in bounds if not re.fullmatch(r"[\w.-]+>=[\d.]+", bound)] == []


def test_lowest_versions_are_the_lower_bounds() -> None:
    lines = (ROOT / "tests/lowest-versions.txt").read_text(encoding="utf-8").splitlines()
    pins: dict[str, list[str]] = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, _, version = line.split(";")[0].strip().partition("==")
            pins.setdefault(name, []).append(version)
    bounds = dict(r.split(";")[0].strip().split(">=") for r in PROJECT["dependencies"])
    assert pins.keys() == bounds.keys()
    # The first line of each is for the oldest Python; others are the first release with a wheel for a newer one.
    assert [n for n, bound in bounds.items() if not f"{pins[n][0]}.".startswith(f"{bound}.")] == []


def third_party(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    ours_or_standard = {"edgebrain", "tomllib", *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(name, name) for name in names - ours_or_standard}


@pytest.mark.parametrize("room", ROOMS)
def test_what_is_imported_is_declared(room: str) -> None:
    undeclared = []
    for name, folder in package_folders().items():
        if not f"{name}.".startswith(f"{ROOMS[room]}.") or (room == "edgebrain" and name in list(ROOMS.values())[1:]):
            continue
        for path in folder.glob("*.py"):
            declared = names_of("") | names_of(EXTRA_OF[room]) | names_of(OPTIONAL.get(path.name, ""))
            # Only for type checkers: it is there wherever one runs.
            missing = third_party(path) - declared - {"typing_extensions"}
            undeclared += [f"{path.relative_to(ROOT)}: {module}" for module in sorted(missing)]
    assert undeclared == []


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: what an earlier build left in the checkout would get into it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    leave = shutil.ignore_patterns("__pycache__", ".mypy_cache", "*.egg-info")
    for name in (*ROOMS, "tests"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=leave)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    # Without isolation the environment's own setuptools is used, and no network.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("edgebrain-*.whl")
    return built


@pytest.fixture(scope="session")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_is_small_and_for_every_machine(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    assert wheel.name.endswith("-py3-none-any.whl")


def test_wheel_has_the_version_of_the_code(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode("utf-8"))
    assert metadata["Version"] == edgebrain.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"


def test_wheel_has_every_module(contents: set[str]) -> None:
    modules = {
        f"{name.replace('.', '/')}/{path.name}"
        for name, folder in package_folders().items()
        for path in folder.glob("*.py")
    }
    assert {name for name in contents if name.endswith(".py")} == modules


def test_wheel_has_the_data_of_the_packages(contents: set[str]) -> None:
    wanted = {"edgebrain/py.typed"}
    for folder, place in (("edgebrain/bundles", ""), ("edgebrain/schemas", ""), ("train/recipes", "edgebrain/")):
        files = [p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix not in (".pyc", ".py")]
        wanted |= {place + str(p.relative_to(ROOT)) for p in files if not p.name.startswith(".")}
    assert "edgebrain/schemas/prediction.schema.json" in wanted
    assert "edgebrain/train/recipes/edge.toml" in wanted
    assert wanted - contents == set()


def test_wheel_has_nothing_else(contents: set[str]) -> None:
    places = ("edgebrain/", f"edgebrain-{edgebrain.__version__}.dist-info/")
    assert [
        n for n in contents if not n.startswith(places) or n.endswith((".pyc", ".pt", ".ckpt", ".safetensors"))
    ] == []
    assert any(name.endswith("/LICENSE") for name in contents)
