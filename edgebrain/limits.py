"""Limits of what can be asked for, in one place for the library and for both readers of the command line."""

from __future__ import annotations

MAX_THREADS = 1024
"""CPU threads. An engine asked for many more spends minutes starting them, and fails or hangs in the end."""

MAX_BATCH_SIZE = 1024
"""Scans that the engine gets at a time; more cost memory and save nothing."""
