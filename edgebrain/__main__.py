"""``python -m edgebrain`` and the ``edgebrain`` command."""

import sys

from edgebrain.errors import EXIT_INTERRUPTED

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave the process with the right exit code."""
    try:
        # Imported here, so that Ctrl-C while it is being imported is nothing but Ctrl-C.
        from edgebrain.cli import main as start

        start()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
