"""TensorRT: runs engines that were built on this very device, from the ONNX files of a bundle.

Engines are taken from the user's cache or built, never from a bundle: TensorRT runs them as they are.
"""

from __future__ import annotations

import hashlib
import platform
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from edgebrain.board import read_board
from edgebrain.bundle import Artifact, Bundle
from edgebrain.caches import private_folder
from edgebrain.engines.base import EngineInfo, EngineOptions
from edgebrain.engines.cuda_memory import Cuda, Staging, open_cuda
from edgebrain.engines.outputs import check_graph, check_images, closed, roles_of
from edgebrain.engines.trt_build import LEVEL, BuildRequest, build_engine
from edgebrain.engines.trt_cache import EngineCache, EngineKey, StoredEngine
from edgebrain.engines.trt_library import collecting_logger, failed, load_tensorrt
from edgebrain.engines.trt_rules import DLA_PROFILE, GPU_PROFILE, dla_refusal
from edgebrain.errors import EdgebrainError, EngineFailed, EngineUnavailable
from edgebrain.types import Float32, Image8, Precision

_WORKSPACE = 1 << 30
_SHARE = 4
"""The builder may use a quarter of the memory, and no more than a gibibyte: on a Jetson the CPU lives in it, too."""
_DEVICES = ("cuda", "dla")
_DLA_CORE = 0


class TrtEngine:
    """A graph in TensorRT; see :class:`~edgebrain.engines.base.EngineFactory` for arguments and errors."""

    def __init__(self, bundle: Bundle, artifact: Artifact, options: EngineOptions) -> None:
        if options.device not in _DEVICES:
            raise EngineUnavailable(
                f"TensorRT cannot run on {options.device!r}.", remedy=f"Use one of: {', '.join(_DEVICES)}."
            )
        trt = load_tensorrt()
        self._check_request(trt, artifact, options)
        self._manifest, self._artifact = bundle.manifest, artifact
        self._profile = DLA_PROFILE if options.device == "dla" else GPU_PROFILE
        self._logger = collecting_logger(trt)
        self._cuda: Cuda | None = open_cuda()
        try:
            engine, self.building = self._obtain(trt, bundle, options)
            self._check_engine(trt, engine)
            self._context = self._start(engine)
            self._buffers = self._allocate(trt, engine, self._cuda)
        except BaseException:
            self.close()
            raise
        self._engine: Any = engine
        where = f"DLA {_DLA_CORE}, " if options.device == "dla" else ""
        self.info = EngineInfo(
            name="tensorrt",
            provider=f"{where}{self._cuda.gpu.name}",
            precision=artifact.precision.value,
            threads=options.threads,
            version=str(trt.__version__),
        )

    def _start(self, engine: Any) -> Any:
        context = engine.create_execution_context()
        if context is None:
            raise failed(f"TensorRT cannot start the engine of {self._artifact.file}", self._logger)
        return context

    @staticmethod
    def _check_request(trt: Any, artifact: Artifact, options: EngineOptions) -> None:
        if not artifact.file.endswith(".onnx"):
            raise EngineFailed(
                f"{artifact.file} is no ONNX file; engines that were built elsewhere are not run.",
                remedy="Export the model again: edgebrain export --format tensorrt",
            )
        if options.device != "dla":
            return
        refusal = dla_refusal(str(trt.__version__))
        if artifact.precision is not Precision.FP16:
            refusal = f"the DLA runs fp16 only, and {artifact.file} is {artifact.precision.value}"
        if refusal is not None:
            raise EngineUnavailable(f"The DLA cannot be used: {refusal}.", remedy="Use --device cuda.")

    def _obtain(self, trt: Any, bundle: Bundle, options: EngineOptions) -> tuple[Any, dict[str, Any]]:
        """The engine from the cache, or a new one."""
        request = self._request(bundle, options)
        key = self._key(trt, request)
        cache = EngineCache(private_folder("tensorrt"))
        with cache.building(key):
            found = cache.load(key)
            if isinstance(found, StoredEngine):
                engine = self._deserialize(trt, found.plan, options)
                if engine is not None:
                    return engine, found.building
                cache.discard(key)
                found = failed("TensorRT refuses the stored engine", self._logger).message.rstrip(".")
            request = self._request(bundle, options, cache.timing(key))
            built = build_engine(trt, self._logger, request, found)
            building = {k: v for k, v in asdict(built).items() if k not in ("plan", "timing")}
            cache.keep_timing(key, built.timing)
            engine = self._deserialize(trt, built.plan, options)
            if engine is None:
                raise failed(f"TensorRT refuses the engine that it has just built of {request.name}", self._logger)
            with suppress(EdgebrainError):  # a full disk costs the next start, not this one
                cache.store(key, StoredEngine(built.plan, building))
        return engine, building

    def _request(self, bundle: Bundle, options: EngineOptions, timing: bytes = b"") -> BuildRequest:
        spec, artifact = self._manifest.input, self._artifact
        assert self._cuda is not None
        graph = bundle.read(artifact)
        full = next((a for a in bundle.artifacts("onnxruntime") if a.precision is Precision.FP32), None)
        lowered = artifact.precision is Precision.FP16 and full is not None
        return BuildRequest(
            name=artifact.file,
            graph=graph,
            weak_graph=bundle.read(full) if lowered and full is not None else graph,
            precision=artifact.precision,
            input=self._manifest.graph.input,
            shape=(1, spec.height, spec.width),
            profile=self._profile,
            dla=_DLA_CORE if options.device == "dla" else None,
            workspace_bytes=min(_WORKSPACE, self._cuda.gpu.memory_bytes // _SHARE),
            timing=timing,
        )

    def _key(self, trt: Any, request: BuildRequest) -> EngineKey:
        assert self._cuda is not None
        gpu = self._cuda.gpu
        return EngineKey(
            graph=hashlib.sha256(request.graph).hexdigest(),
            weak_graph=hashlib.sha256(request.weak_graph).hexdigest(),
            precision=request.precision.value,
            tensorrt=str(trt.__version__),
            cuda_runtime=gpu.runtime,
            cuda_driver=gpu.driver,
            machine=platform.machine(),
            device=gpu.name,
            compute_capability=gpu.compute_capability,
            sms=gpu.sms,
            memory_bytes=gpu.memory_bytes,
            l2_bytes=gpu.l2_bytes,
            integrated=gpu.integrated,
            ecc=gpu.ecc,
            l4t=read_board().l4t,
            target="gpu" if request.dla is None else f"dla{request.dla}",
            profile=request.profile,
            workspace_bytes=request.workspace_bytes,
            level=LEVEL,
        )

    def _deserialize(self, trt: Any, plan: bytes, options: EngineOptions) -> Any:
        try:
            runtime = trt.Runtime(self._logger)
        except TypeError as error:
            raise EngineUnavailable(
                "TensorRT could not initialise CUDA.", remedy="Check the driver and the GPU: nvidia-smi, tegrastats."
            ) from error
        if options.device == "dla":
            runtime.DLA_core = _DLA_CORE
        self._runtime = runtime  # an engine needs it as long as it lives
        return runtime.deserialize_cuda_engine(plan)

    def _check_engine(self, trt: Any, engine: Any) -> None:
        names = [str(engine.get_tensor_name(index)) for index in range(int(engine.num_io_tensors))]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        spec, name = self._manifest.input, self._manifest.graph.input
        shape = tuple(engine.get_tensor_shape(name)) if inputs == [name] else ()
        batch = self._profile.minimum if self._profile.static else -1
        fits = (
            inputs == [name]
            and shape[1:] == (1, spec.height, spec.width)
            and shape[0] in (batch, -1)
            and np.dtype(trt.nptype(engine.get_tensor_dtype(name))) == np.uint8
        )
        check_graph(self._manifest, self._artifact, set(names) - set(inputs), fits=fits)

    def _allocate(self, trt: Any, engine: Any, cuda: Cuda) -> dict[str, tuple[Staging, np.dtype[Any]]]:
        """Buffers for the largest batch of every input and output, once; their addresses never change."""
        context, largest = self._context, self._profile.maximum
        names = [str(engine.get_tensor_name(index)) for index in range(int(engine.num_io_tensors))]
        self._set_batch(context, largest)
        buffers = {}
        for name in names:
            kind = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
            shape = tuple(int(side) for side in context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise EngineFailed(f"{self._artifact.file} has the output {name} of unknown size {shape}.")
            staging = cuda.staging(int(np.prod(shape)) * kind.itemsize)
            if not context.set_tensor_address(name, staging.address):
                raise failed(f"TensorRT refuses the memory for {name}", self._logger)
            buffers[name] = (staging, kind)
        return buffers

    def _set_batch(self, context: Any, count: int) -> None:
        spec, name = self._manifest.input, self._manifest.graph.input
        if not context.set_input_shape(name, (count, 1, spec.height, spec.width)) or list(context.infer_shapes()):
            raise failed(f"TensorRT refuses a batch of {count}", self._logger)

    def run(self, images: Image8) -> dict[str, Float32]:
        """Run the graph in batches that the engine was built for; see :class:`~edgebrain.engines.base.Engine`."""
        if self._cuda is None:
            raise closed()
        spec, most = self._manifest.input, self._profile.maximum
        check_images(images, spec.height, spec.width, "TensorRT")
        parts = [self._run_part(self._cuda, images[i : i + most]) for i in range(0, len(images), most)]
        return {role: np.concatenate([part[role] for part in parts]) for role in parts[0]}

    def _run_part(self, cuda: Cuda, images: Image8) -> dict[str, Float32]:
        context = self._context
        self._set_batch(context, len(images))
        pinned, _ = self._buffers[self._manifest.graph.input]
        pinned.host[: images.size] = images.reshape(-1)
        pinned.upload(images.size)
        if not context.execute_async_v3(cuda.stream):
            raise failed(f"TensorRT failed on a batch of {len(images)}", self._logger)
        wanted: dict[str, tuple[Image8, np.dtype[Any], tuple[int, ...]]] = {}
        for role, name in roles_of(self._manifest.graph).items():
            staging, kind = self._buffers[name]
            shape = tuple(int(side) for side in context.get_tensor_shape(name))
            size = int(np.prod(shape)) * kind.itemsize
            staging.download(size)
            wanted[role] = (staging.host[:size], kind, shape)
        cuda.synchronize()
        # Copied: the next batch is downloaded to the same memory.
        return {role: raw.view(kind).reshape(shape).astype(np.float32) for role, (raw, kind, shape) in wanted.items()}

    def close(self) -> None:
        """Give memory back."""
        self._context = self._engine = None
        self._buffers = {}
        cuda, self._cuda = self._cuda, None
        if cuda is not None:
            cuda.close()
