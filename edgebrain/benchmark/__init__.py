"""How fast a model really is here: from a new process to a steady run, per stage, with intervals and raw samples."""
