"""Every name of TensorRT that the code uses exists in the bindings of all versions that it is for."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = json.loads((ROOT / "tests/golden/tensorrt_names.json").read_text(encoding="utf-8"))["versions"]
FILES = sorted((ROOT / "edgebrain/engines").glob("trt*.py"))
OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "layer": "ILayer",
    "fault": "ParserError",
}
"""What variables of these names hold in the code."""
MODULE = frozenset({"nptype"})
"""Names of the module itself that are no classes; the ``__init__`` of the bindings defines them in every version."""
ONLY = {
    "BuilderFlag.FP16": {"10.3", "10.16"},
    "BuilderFlag.INT8": {"10.3", "10.16"},
    "OnnxParserFlag.ADJUST_FOR_DLA": {"10.16", "11.4"},
}
"""Names that are used behind a question for the version; the tests of the fake hold those to it."""


def used(path: Path) -> set[str]:
    """``Class.name`` of every name of TensorRT in a file, and ``trt.name`` of what is no class."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
            continue
        value = node.value
        if isinstance(value, ast.Name) and value.id == "trt":
            found.add(f"trt.{node.attr}")
        elif isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "trt":
            found.add(f"{value.attr}.{node.attr}")
        elif isinstance(value, ast.Name) and value.id in OBJECTS:
            found.add(f"{OBJECTS[value.id]}.{node.attr}")
    return found


USED = sorted(set().union(*map(used, FILES)) - {f"trt.{name}" for name in MODULE})


def test_names_are_found() -> None:
    assert {
        "Builder.build_serialized_network",
        "IExecutionContext.execute_async_v3",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "OnnxParser.parse",
        "Runtime.deserialize_cuda_engine",
        "trt.Builder",
    } <= set(USED)


@pytest.mark.parametrize("name", USED)
@pytest.mark.parametrize("version", NAMES)
def test_the_bindings_have_it(name: str, version: str) -> None:
    owner, _, member = name.partition(".")
    if owner == "trt":
        assert member in NAMES[version]
    elif name in ONLY:
        assert (member in NAMES[version][owner]) == (version in ONLY[name])
    else:
        assert member in NAMES[version][owner]


def test_what_11_removed_is_known_to_be_missing() -> None:
    assert "EXPLICIT_BATCH" not in NAMES["11.4"]["NetworkDefinitionCreationFlag"]
    assert "platform_has_fast_fp16" not in NAMES["11.4"]["Builder"]
