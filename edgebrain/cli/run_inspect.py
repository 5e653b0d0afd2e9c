"""What ``edgebrain models`` and ``edgebrain doctor`` do."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgebrain import bundle as bundles
from edgebrain.device import kind_of, request_of
from edgebrain.doctor import Diagnosis, Trial, diagnose
from edgebrain.engines import ENGINES, unreadable_because
from edgebrain.errors import EXIT_INVALID, EXIT_OK, printable
from edgebrain.seal import SEAL

if TYPE_CHECKING:
    from edgebrain.cli.requests import ModelRequest
    from edgebrain.facts import Facts


_MIN_WIDTH = 60
"""Columns. In less, tables show nothing but dots; lines that a narrow terminal breaks can still be read."""


def print_models() -> int:
    """List the built-in models."""
    table = Table("model", "version", "labels", "input", "files", "engines", box=None, pad_edge=False)
    for name in bundles.built_in_models():
        manifest = bundles.open_bundle(name).manifest
        files = ", ".join(f"{kind_of(a, manifest)} {a.bytes / 1e6:.1f} MB" for a in manifest.artifacts)
        if manifest.second_reader is not None:
            files += f", second reader {manifest.second_reader.artifact.bytes / 1e6:.1f} MB"
        size = f"{manifest.input.width}x{manifest.input.height}"
        row = (manifest.id, manifest.version, ", ".join(manifest.labels), size, files, _engines_of(manifest))
        table.add_row(*_plain(*row))
    _console().print(table)
    return EXIT_OK


def _engines_of(manifest: bundles.Manifest) -> str:
    """Engines that can run a file of the model, each with its precisions: ``onnxruntime fp32 int8, openvino ...``."""
    cells = []
    for name, record in ENGINES.items():
        usable = [kind_of(a, manifest) for a in manifest.artifacts if unreadable_because(record, a) is None]
        cells += [" ".join((name, *dict.fromkeys(usable)))] if usable else []
    return ", ".join(cells)


def print_manifest(model: str) -> int:
    """Print a manifest as JSON."""
    manifest = bundles.open_bundle(model).manifest
    sys.stdout.write(json.dumps(bundles.manifest_tree(manifest), indent=2) + "\n")
    return EXIT_OK


def verify_model(model: str) -> int:
    """Read every file of a bundle; a changed one raises."""
    bundle = bundles.open_bundle(model)
    # Opening has compared it, where the manifest had one.
    sys.stdout.write(f"{bundles.MANIFEST}: {SEAL} {bundles.manifest_tree(bundle.manifest)[SEAL]}\n")
    for entry in bundles.files_of(bundle.manifest):
        data = bundle.read(entry)
        sys.stdout.write(f"{entry.file}: {len(data)} bytes, sha256 {entry.sha256}: as in the manifest\n")
    return EXIT_OK


def print_card(model: str) -> int:
    """Print a bundle's model card."""
    text = bundles.open_bundle(model).read_card()
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        _console().print(Markdown(text))
    else:
        sys.stdout.write(text)
    return EXIT_OK


def run_doctor(request: ModelRequest, *, as_json: bool) -> int:
    """Diagnose this machine."""
    wanted = request_of(request.engine, request.precision, request.threads, request.device)
    diagnosis = diagnose(bundles.open_bundle(request.model), wanted)
    if as_json:
        sys.stdout.write(json.dumps(diagnosis.to_dict(), indent=2) + "\n")
    else:
        _print_diagnosis(diagnosis)
    return EXIT_OK if diagnosis.healthy else EXIT_INVALID


def _print_diagnosis(diagnosis: Diagnosis) -> None:
    facts = diagnosis.facts
    machine = Table.grid(padding=(0, 2))
    libraries = ", ".join(f"{name} {version}" for name, version in diagnosis.libraries.items())
    rows = [
        ("machine", " ".join(filter(None, (facts.board, facts.cpu, facts.machine)))),
        ("CPUs", f"{facts.cpus} usable by this process"),
        ("INT8", ", ".join(sorted(facts.int8_flags)) or "no VNNI or dot-product instructions"),
        ("vectors", ", ".join(filter(None, (facts.vectors, *sorted(facts.fp16_flags)))) or "unknown"),
        *_accelerators(facts),
        ("memory", f"{facts.memory_bytes / 2**30:.1f} GiB" if facts.memory_bytes else "unknown"),
        ("software", f"Python {diagnosis.python}, {libraries}"),
        *(("engine", f"{name}: {state}") for name, state in diagnosis.engines.items()),
        *(("choice", reason) for reason in diagnosis.choice.reasons),
        *(("not taken", reason) for reason in diagnosis.choice.rejected),
    ]
    for row in rows:
        machine.add_row(*_plain(*row))
    files = Table(
        "file", "engine", "provider", "self-test", "largest difference of a probability", box=None, pad_edge=False
    )
    for trial in diagnosis.trials:
        files.add_row(*_plain(*_trial_row(trial)))
    console = _console()
    console.print(machine)
    console.print()
    console.print(files)
    if diagnosis.advice is not None:
        console.print(Text(printable(diagnosis.advice), style="bold red"))


def _accelerators(facts: Facts) -> list[tuple[str, str]]:
    board = facts.accelerators
    rows = [("GPU", board.gpu or "no NVIDIA GPU"), ("DLA", "on this board" if board.dla else "")]
    rows += [("Jetson Linux", board.l4t), ("TensorRT", facts.tensorrt)]
    return [(name, value) for name, value in rows if value]


def _console() -> Console:
    console = Console(highlight=False)
    console.width = max(console.width, _MIN_WIDTH)
    return console


def _plain(*cells: str) -> tuple[Text, ...]:
    # Names come from a bundle: `model[red].onnx` is a name, not markup.
    return tuple(Text(printable(cell)) for cell in cells)


def _trial_row(trial: Trial) -> tuple[str, str, str, str, str]:
    name = trial.file
    if trial.chosen:
        name += " (second reader)" if trial.second_reader else " (chosen)"
    provider = trial.engine.provider if trial.engine else "-"
    if trial.test is None:
        return name, trial.name, provider, f"not tested: {trial.problem}", "-"
    verdict = "passed" if trial.test.passed else "FAILED"
    return name, trial.name, provider, verdict, f"{trial.test.worst:.2g} ({trial.test.tolerance:g} allowed)"
