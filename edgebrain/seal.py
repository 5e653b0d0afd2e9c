"""One hash over what a model's answers depend on besides its files, so that a threshold cannot change unseen.

It stands in the manifest, where it is compared when a bundle is opened, and it is part of the hash by which records
name the model that answered. Like the hashes of files it tells of damage and of editing by hand; it is no signature,
and who can write the manifest can write another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "answer_sha256"
SEALED = ("labels", "negative_label", "input", "graph", "decision", "head", "second_reader")
"""Fields of the manifest that decide an answer; files have hashes of their own, and the rest is for people."""


def answer_sha256(tree: Mapping[str, Any]) -> str:
    """Hash the fields of a manifest that decide an answer.

    Args:
        tree: The manifest as JSON values, of schema 5 or newer. A field that is not there counts as null. What a later
            schema added counts where it says something, so that older models keep their hash.

    Returns:
        64 hexadecimal digits.
    """
    sealed = {name: tree.get(name) for name in SEALED}
    second = sealed["second_reader"]
    if isinstance(second, Mapping) and not second.get("negatives"):  # a wrong type is refused elsewhere
        sealed["second_reader"] = {name: value for name, value in second.items() if name != "negatives"}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
