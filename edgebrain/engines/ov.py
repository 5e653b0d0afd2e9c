"""OpenVINO: reads the ONNX files of a bundle as they are, or IR; its numerics are pinned and its telemetry is off."""

from __future__ import annotations

import functools
import queue
import sys
from typing import Any

import numpy as np

from edgebrain.bundle import Artifact, Bundle
from edgebrain.engines.base import EngineInfo, EngineOptions
from edgebrain.engines.outputs import check_graph, check_images, closed, roles_of
from edgebrain.errors import EngineFailed, EngineUnavailable
from edgebrain.types import Float32, Image8, Precision

_DEVICES = {"cpu": "CPU", "gpu": "GPU"}
_HINT = "INFERENCE_PRECISION_HINT"


class OvEngine:
    """A graph in OpenVINO; see :class:`~edgebrain.engines.base.EngineFactory` for arguments and errors.

    Left alone, OpenVINO computes fp32 files in bfloat16 on processors that have it, and says nothing. Here the
    arithmetic is named, read back, and refused when it is not what was named.
    """

    def __init__(self, bundle: Bundle, artifact: Artifact, options: EngineOptions) -> None:
        openvino = load_openvino()
        core = openvino_core()
        device = _device_of(core, options)
        self._input = bundle.manifest.graph.input
        self._roles = roles_of(bundle.manifest.graph)
        self._size = (bundle.manifest.input.height, bundle.manifest.input.width)
        try:
            model = _read_model(openvino, core, bundle, artifact)
        except RuntimeError as error:
            raise EngineFailed(f"OpenVINO refuses {artifact.file}: {_first_line(error)}") from error
        check_graph(bundle.manifest, artifact, _names(model.outputs), fits=self._fits(model.inputs))
        precision, hint = _arithmetic(core, device, artifact, options)
        try:
            self._compiled: Any = core.compile_model(model, device, _settings(options, device, hint))
        except RuntimeError as error:
            raise EngineFailed(f"OpenVINO refuses {artifact.file}: {_first_line(error)}") from error
        found = str(self._compiled.get_property(_HINT).get_type_name())
        if found != hint:
            raise EngineUnavailable(
                f"OpenVINO on {device} computes in {found} where {hint} was asked for.",
                remedy="Use another precision, or --engine onnxruntime.",
            )
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(options.streams):
            self._requests.put(self._compiled.create_infer_request())
        self.info = EngineInfo(
            name="openvino",
            provider=f"{'+'.join(self._compiled.get_property('EXECUTION_DEVICES'))} {found}",
            precision=precision.value,
            threads=options.threads,
            version=str(openvino.__version__).partition("-")[0],
        )

    def _fits(self, inputs: Any) -> bool:
        if len(inputs) != 1 or self._input not in inputs[0].get_names():
            return False
        shape = list(inputs[0].partial_shape)
        known = [None if side.is_dynamic else side.get_length() for side in shape]
        return inputs[0].element_type.get_type_name() == "u8" and known == [None, 1, *self._size]

    def run(self, images: Image8) -> dict[str, Float32]:
        """Run the graph; see :class:`~edgebrain.engines.base.Engine`."""
        if self._compiled is None:
            raise closed()
        check_images(images, *self._size, "OpenVINO")  # it would convert them instead
        request = self._requests.get()
        try:
            results = request.infer({self._input: np.ascontiguousarray(images)})
            # Copied: the request writes the next answer to the same memory.
            return {role: np.array(results[name], np.float32) for role, name in self._roles.items()}
        except RuntimeError as error:
            raise EngineFailed(f"OpenVINO failed on a batch of {len(images)}: {_first_line(error)}") from error
        finally:
            self._requests.put(request)

    def close(self) -> None:
        """Give memory back."""
        self._compiled = None
        self._requests = queue.SimpleQueue()


def load_openvino() -> Any:
    """Import OpenVINO with its telemetry off; whoever needs the module comes this way.

    Raises:
        EngineUnavailable: It cannot be loaded.
    """
    # Importing openvino sends an event to an analytics service unless this module cannot be had (see
    # docs/guides/intel.md). None in sys.modules makes its import fail, which openvino takes for "not installed".
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None is how Python spells it
    try:
        import openvino
    except ImportError as error:
        raise EngineUnavailable(
            f"OpenVINO cannot be loaded: {error}.", remedy="Install it again: pip install 'edgebrain[openvino]'"
        ) from error
    return openvino


@functools.cache
def openvino_core() -> Any:
    """The one ``Core`` of this process.

    Every ``Core`` that loads the CPU plugin gives the thread a signal stack of its own, and puts back the one before
    when it goes. Of two that go in the order in which they came, the second puts back what the first had freed, and
    the next signal, a Ctrl-C, kills the process (seen with 2026.4.1). So there is one, and it stays.

    Raises:
        EngineUnavailable: OpenVINO cannot be loaded.
    """
    return load_openvino().Core()


def _device_of(core: Any, options: EngineOptions) -> str:
    device = _DEVICES.get(options.device)
    # A machine with two GPUs calls them GPU.0 and GPU.1.
    available = {str(name).partition(".")[0] for name in core.available_devices}
    if device is None or device not in available:
        usable = [name for name, known in _DEVICES.items() if known in available]
        raise EngineUnavailable(
            f"OpenVINO here cannot run on {options.device!r}.", remedy=f"Use one of: {', '.join(usable)}."
        )
    return device


def _read_model(openvino: Any, core: Any, bundle: Bundle, artifact: Artifact) -> Any:
    data = bundle.read(artifact)
    if not artifact.file.endswith(".xml"):
        return core.read_model(data)
    weights = next((a for a in bundle.manifest.artifacts if a.file == f"{artifact.file[:-4]}.bin"), None)
    if weights is None:
        raise EngineFailed(
            f"The manifest does not name the weights of {artifact.file}.", remedy="Export the model again."
        )
    return core.read_model(data, openvino.Tensor(np.frombuffer(bundle.read(weights), np.uint8)))


def _arithmetic(core: Any, device: str, artifact: Artifact, options: EngineOptions) -> tuple[Precision, str]:
    """What the file counts as, and the arithmetic to name; int8 files keep their float parts in fp32."""
    asked = options.precision or artifact.precision
    can = set(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))
    if asked is not Precision.FP16:
        return asked, "f32"
    if "FP16" in can:
        return asked, "f16"
    if artifact.precision is Precision.FP16:
        return asked, "f32"  # weights rounded to fp16, computed in fp32: exact, and never bfloat16
    raise EngineUnavailable(
        f"OpenVINO's {device} has no fp16 arithmetic on this machine.",
        remedy="Use --precision fp32, or a bundle that was exported with --format openvino --precision fp16.",
    )


def _settings(options: EngineOptions, device: str, hint: str) -> dict[str, Any]:
    many = options.streams > 1
    settings: dict[str, Any] = {_HINT: hint, "PERFORMANCE_HINT": "THROUGHPUT" if many else "LATENCY"}
    if device == "CPU":
        settings |= {"INFERENCE_NUM_THREADS": options.threads * options.streams, "NUM_STREAMS": str(options.streams)}
    # No CACHE_DIR: OpenVINO runs what lies there unverified, and a blob with a few flipped bytes gives other answers.
    return settings


def _names(nodes: Any) -> set[str]:
    return {name for node in nodes for name in node.get_names()}


def _first_line(error: Exception) -> str:
    # OpenVINO puts the places in its own code first, one a line.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Exception from ")]
    return (said or lines or [type(error).__name__])[0]
