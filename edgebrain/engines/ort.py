"""ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebrain.bundle import Artifact, Bundle
from edgebrain.engines.base import EngineInfo, EngineOptions
from edgebrain.errors import EngineFailed, EngineUnavailable
from edgebrain.types import Float32, Image8

_PROVIDERS = {"cpu": "CPUExecutionProvider"}
_FATAL = 4
"""ONNX Runtime's log level: what it prints below this would only repeat the exceptions we translate."""


class OrtEngine:
    """A graph in ONNX Runtime; see :class:`~edgebrain.engines.base.EngineFactory` for arguments and errors."""

    def __init__(self, bundle: Bundle, artifact: Artifact, options: EngineOptions) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineUnavailable(
                f"ONNX Runtime cannot be loaded: {error}.", remedy="Install it again: pip install onnxruntime"
            ) from error
        provider = _PROVIDERS.get(options.device)
        if provider is None or provider not in onnxruntime.get_available_providers():
            raise EngineUnavailable(
                f"ONNX Runtime here cannot run on {options.device!r}.", remedy=f"Use one of: {', '.join(_PROVIDERS)}."
            )
        graph = bundle.manifest.graph
        self._input = graph.input
        roles = {"logits": graph.logits, "embedding": graph.embedding, "cam": graph.cam, "outlier": graph.outlier}
        self._roles = {role: name for role, name in roles.items() if name is not None}
        try:
            self._session: Any = onnxruntime.InferenceSession(
                bundle.read(artifact), _session_options(onnxruntime, options), providers=[provider]
            )
        except Exception as error:
            if type(error).__module__.startswith("onnxruntime"):
                raise EngineFailed(f"ONNX Runtime refuses {artifact.file}: {error}") from error
            raise
        self._check_graph(bundle, artifact)
        self.info = EngineInfo(
            name="onnxruntime",
            provider=str(self._session.get_providers()[0]),
            precision=artifact.precision.value,
            threads=options.threads,
            version=str(onnxruntime.__version__),
        )

    def _check_graph(self, bundle: Bundle, artifact: Artifact) -> None:
        spec = bundle.manifest.input
        inputs = {node.name: node for node in self._session.get_inputs()}
        outputs = {node.name for node in self._session.get_outputs()}
        node = inputs.get(self._input)
        expected = [1, spec.height, spec.width]
        fits = node is not None and node.type == "tensor(uint8)" and list(node.shape[1:]) == expected
        if not fits or len(inputs) != 1 or isinstance(inputs[self._input].shape[0], int):
            raise EngineFailed(
                f"{artifact.file} does not take one uint8 input {self._input!r} [N, 1, {spec.height}, {spec.width}]."
            )
        missing = sorted(set(self._roles.values()) - outputs)
        if missing:
            raise EngineFailed(f"{artifact.file} has no output {', '.join(missing)}.")

    def run(self, images: Image8) -> dict[str, Float32]:
        """Run the graph; see :class:`~edgebrain.engines.base.Engine`."""
        if self._session is None:
            raise EngineFailed("The engine was closed; it cannot run any more.", remedy="Load the model again.")
        try:
            values = self._session.run(list(self._roles.values()), {self._input: images})
        except Exception as error:
            if type(error).__module__.startswith("onnxruntime"):
                raise EngineFailed(f"ONNX Runtime failed on a batch of {len(images)}: {error}") from error
            raise
        return {role: np.asarray(value, np.float32) for role, value in zip(self._roles, values, strict=True)}

    def close(self) -> None:
        """Give memory back."""
        self._session = None


def _session_options(onnxruntime: Any, options: EngineOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _FATAL
    # Batches that run side by side share the arena. Without it each leaves its buffers behind in the heap of its
    # own thread: 150 MB instead of 124 for two batches of four.
    settings.enable_cpu_mem_arena = True
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spin else "0")
    return settings
