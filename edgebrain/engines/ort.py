"""ONNX Runtime."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from edgebrain.bundle import Artifact, Bundle
from edgebrain.engines.base import EngineInfo, EngineOptions
from edgebrain.engines.outputs import check_graph, closed, roles_of
from edgebrain.errors import EngineFailed, EngineUnavailable
from edgebrain.types import Float32, Image8

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_FATAL = 4
"""ONNX Runtime's log level: what it prints below this would only repeat the exceptions we translate."""
_DEFAULT = -1  # of an arena's numbers
_registering = threading.Lock()
_registered: set[Any] = set()
"""ONNX Runtimes that have an arena to share: one, outside of tests."""


class OrtEngine:
    """A graph in ONNX Runtime; see :class:`~edgebrain.engines.base.EngineFactory` for arguments and errors."""

    def __init__(self, bundle: Bundle, artifact: Artifact, options: EngineOptions) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineUnavailable(
                f"ONNX Runtime cannot be loaded: {error}.", remedy="Install it again: pip install onnxruntime"
            ) from error
        provider = _provider(onnxruntime, options)
        self._input = bundle.manifest.graph.input
        self._roles = roles_of(bundle.manifest.graph)
        try:
            self._session: Any = onnxruntime.InferenceSession(
                bundle.read(artifact), _session_options(onnxruntime, options), providers=[provider]
            )
        except Exception as error:
            if type(error).__module__.startswith("onnxruntime"):
                raise EngineFailed(f"ONNX Runtime refuses {artifact.file}: {error}") from error
            raise
        self._check_graph(bundle, artifact)
        found = str(self._session.get_providers()[0])
        if found != provider:  # it falls back to the CPU, and says so in a log only
            raise EngineUnavailable(
                f"ONNX Runtime was asked for {provider} and took {found}.",
                remedy="Check the driver and the CUDA libraries, or use --device cpu.",
            )
        self.info = EngineInfo(
            name="onnxruntime",
            provider=found,
            precision=artifact.precision.value,
            threads=options.threads,
            version=str(onnxruntime.__version__),
        )

    def _check_graph(self, bundle: Bundle, artifact: Artifact) -> None:
        spec = bundle.manifest.input
        inputs = self._session.get_inputs()
        fits = (
            len(inputs) == 1
            and (inputs[0].name, inputs[0].type) == (self._input, "tensor(uint8)")
            and list(inputs[0].shape[1:]) == [1, spec.height, spec.width]
            and not isinstance(inputs[0].shape[0], int)
        )
        check_graph(bundle.manifest, artifact, {node.name for node in self._session.get_outputs()}, fits=fits)

    def run(self, images: Image8) -> dict[str, Float32]:
        """Run the graph; see :class:`~edgebrain.engines.base.Engine`."""
        if self._session is None:
            raise closed()
        try:
            values = self._session.run(list(self._roles.values()), {self._input: images})
        except Exception as error:
            if type(error).__module__.startswith("onnxruntime"):
                raise EngineFailed(f"ONNX Runtime failed on a batch of {len(images)}: {error}") from error
            raise
        return {role: np.asarray(value, np.float32) for role, value in zip(self._roles, values, strict=True)}

    def close(self) -> None:
        """Give the weights back; what runs took stays in the process's arena, for the next engine."""
        self._session = None


def _provider(onnxruntime: Any, options: EngineOptions) -> str:
    device = options.device
    available = onnxruntime.get_available_providers()
    provider = _PROVIDERS.get(device)
    if provider is None or provider not in available:
        usable = [name for name, known in _PROVIDERS.items() if known in available]
        gpu = provider is not None  # a device that ONNX Runtime knows, but not this build of it
        way_out = "; pip install onnxruntime-gpu in the place of onnxruntime brings CUDA" if gpu else ""
        raise EngineUnavailable(
            f"ONNX Runtime here cannot run on {device!r}.", remedy=f"Use one of: {', '.join(usable)}{way_out}."
        )
    return provider


def _session_options(onnxruntime: Any, options: EngineOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _FATAL
    # Batches that run side by side share an arena, and so do the two networks of a model. Without one, each leaves its
    # buffers behind in the heap: 138 to 155 MB instead of 125 to 130 (docs/decisions/0031).
    settings.enable_cpu_mem_arena = True
    _share_one_arena(onnxruntime)
    settings.add_session_config_entry("session.use_env_allocators", "1")
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spin else "0")
    return settings


def _share_one_arena(onnxruntime: Any) -> None:
    """Give the process one arena for all sessions that ask for it; what one has freed, the next one takes.

    An arena grows by doubling, so that two of them hold up to twice as much as is in use, each for itself. It lasts as
    long as the process: a closed engine leaves its part to the next one.

    Where somebody else has registered an allocator in this process, versions up to 1.22 refuse a second one, and theirs
    is used; later ones put ours in its place, for sessions that are opened from then on and ask for it.
    """
    with _registering:
        if onnxruntime in _registered:
            return
        memory = onnxruntime.OrtMemoryInfo(
            "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
        )
        numbers = onnxruntime.OrtArenaCfg(0, _DEFAULT, _DEFAULT, _DEFAULT)  # 0: without an upper limit
        try:
            onnxruntime.create_and_register_allocator(memory, numbers)
        except RuntimeError as error:
            if "already been registered" not in str(error):
                raise EngineUnavailable(
                    f"ONNX Runtime cannot make room for its work: {error}.", remedy="Free memory, and try again."
                ) from error
        _registered.add(onnxruntime)
