"""How packets reach viewers: one link per viewer, whatever carries it."""
