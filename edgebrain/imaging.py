"""OpenCV, imported in one place.

The full opencv-python wants libGL, which bare containers lack; the failure is explained here and nowhere else.
"""

from edgebrain.errors import MissingLibrary

try:
    import cv2
except ImportError as error:  # pragma: no cover - depends on the system
    raise MissingLibrary(
        f"OpenCV cannot be loaded: {error}.",
        remedy="Install libGL (Debian: apt install libgl1 libglib2.0-0), or take the build without windows: "
        "pip uninstall opencv-python && pip install opencv-python-headless",
    ) from error

__all__ = ["cv2"]
