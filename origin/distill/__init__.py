"""The student's school: speech, a teacher that sees the future, training, quantization, characters and their marks.

Offline: nothing here runs in an origin or a POP. PyTorch is imported only by what trains (`student`, `train`, `adapt`).
"""
