"""``python -m edgebrain`` and the ``edgebrain`` command."""

from edgebrain.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
