"""How torchvision's documentation classifies a picture: Pillow, its transforms, a network in inference mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Run = Callable[[Sequence[str], int], list[int]]


def classify(net: Any) -> Run:
    """A function that classifies files in batches of a size, and returns the outputs that are largest.

    Args:
        net: A network that takes float32 [N, 3, 224, 224].
    """
    import torch
    from PIL import Image
    from torchvision import transforms

    prepare: Any = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )

    def load(file: str) -> torch.Tensor:
        with Image.open(file) as image:
            tensor: torch.Tensor = prepare(image.convert("RGB"))
        return tensor

    def run(files: Sequence[str], batch: int) -> list[int]:
        found: list[int] = []
        with torch.inference_mode():
            for start in range(0, len(files), batch):
                found += net(torch.stack([load(file) for file in files[start : start + batch]])).argmax(1).tolist()
        return found

    return run
