"""Export: from a trained model to a verified bundle. Needs the extra `export`."""
