"""Prediction records as text: JSON, JSONL, CSV and tables; sorting, and going on where a run stopped."""
