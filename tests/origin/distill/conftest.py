"""Training is not part of `make setup`: where PyTorch is missing, its tests are not collected rather than skipped.

`make testdistill` installs it and runs them all; there STRICT=1 means what it means everywhere.
"""

from __future__ import annotations

from importlib.util import find_spec

TRAINING = ["test_adapt.py", "test_export.py", "test_looks.py", "test_serving.py", "test_student.py", "test_train.py"]

collect_ignore = [] if all(find_spec(name) for name in ("onnx", "onnx_ir", "torch")) else TRAINING
