"""The error tree.

Every error that a caller may see is one of these; foreign exceptions are wrapped once, with ``from``, where they enter.

```
EdgebrainError                 exit 1
├── UsageError                 exit 2   the call makes no sense as written
├── ScanError                  exit 1   one scan could not be used; the rest of the batch goes on
│   ├── UnreadableScan                  missing, no permission, not an image, cut short
│   ├── UnsupportedScan                 readable, but not something that can be classified
│   └── ScanTooLarge                    over a size limit, found out before decoding
├── BundleError                exit 4   a model folder is not what it says
│   ├── InvalidManifest
│   ├── HashMismatch
│   └── UnsupportedSchema
├── EngineError                exit 3
│   ├── EngineUnavailable               a library or a device is missing
│   └── EngineFailed           exit 4   the engine refused or broke the graph
├── MissingExtra               exit 3   an optional part of edgebrain is not installed
├── MissingLibrary             exit 3   a library is installed, but the system lacks what it needs
├── TrainingError              exit 1
└── ExportError                exit 4
    └── GateFailed                      the exported model is not as good as the one it came from
```
"""

from __future__ import annotations

from typing import ClassVar

EXIT_OK = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_MISSING = 3
EXIT_INVALID = 4
EXIT_INTERRUPTED = 130


def printable(text: str) -> str:
    r"""Make text from outside safe to show: one line, no terminal escapes, no lone surrogates.

    Args:
        text: Anything, a file name for instance.

    Returns:
        The text with every character that is not printable written as a ``\x1b``-like escape.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class EdgebrainError(Exception):
    """Base of every error that edgebrain raises on purpose.

    Args:
        message: What is wrong, naming the file or option; made printable.
        remedy: What the user can do about it; one sentence.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = EXIT_SOME_FAILED

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        self.message = printable(message)
        self.remedy = remedy
        super().__init__(self.message if remedy is None else f"{self.message} {remedy}")


class UsageError(EdgebrainError):
    """The call makes no sense as written."""

    code = "usage"
    exit_code = EXIT_USAGE


class ScanError(EdgebrainError):
    """One scan could not be used."""

    code = "scan_error"


class UnreadableScan(ScanError):
    """The file is missing, may not be read, is not an image or is cut short."""

    code = "unreadable_scan"


class UnsupportedScan(ScanError):
    """The file was read, but holds nothing that can be classified."""

    code = "unsupported_scan"


class ScanTooLarge(ScanError):
    """The file or its image is over a limit; found out before decoding."""

    code = "scan_too_large"


class BundleError(EdgebrainError):
    """A model folder is not what it says."""

    code = "bundle_error"
    exit_code = EXIT_INVALID


class InvalidManifest(BundleError):
    """The manifest is missing, is no JSON, or says something impossible."""

    code = "invalid_manifest"


class HashMismatch(BundleError):
    """A file of the bundle is not the one the manifest was written for."""

    code = "hash_mismatch"


class UnsupportedSchema(BundleError):
    """The bundle was written by a newer edgebrain."""

    code = "unsupported_schema"


class EngineError(EdgebrainError):
    """An inference engine cannot be used."""

    code = "engine_error"
    exit_code = EXIT_MISSING


class EngineUnavailable(EngineError):
    """A library or a device that the engine needs is missing."""

    code = "engine_unavailable"


class EngineFailed(EngineError):
    """The engine refused the graph, or failed while running it."""

    code = "engine_failed"
    exit_code = EXIT_INVALID


class MissingExtra(EdgebrainError):
    """An optional part of edgebrain is not installed.

    Args:
        what: What was asked for, "training" for instance.
        extra: The extra that brings it.
        module: The module that could not be imported.
    """

    code = "missing_extra"
    exit_code = EXIT_MISSING

    def __init__(self, what: str, *, extra: str, module: str) -> None:
        super().__init__(
            f"{what} needs the Python module {module!r}, which is not installed.",
            remedy=f"Install it with: pip install 'edgebrain[{extra}]'",
        )


class MissingLibrary(EdgebrainError):
    """A library is installed, but cannot be loaded on this system."""

    code = "missing_library"
    exit_code = EXIT_MISSING


class TrainingError(EdgebrainError):
    """Training cannot start or go on."""

    code = "training_error"


class ExportError(EdgebrainError):
    """A model could not be exported."""

    code = "export_error"
    exit_code = EXIT_INVALID


class GateFailed(ExportError):
    """The exported model is not as good as the one it came from."""

    code = "gate_failed"
