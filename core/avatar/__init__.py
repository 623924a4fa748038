"""The face: its rig, one frame of it, and how it behaves."""
