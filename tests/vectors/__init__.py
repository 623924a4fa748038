"""Test vectors of the wire, read by pytest and by the TypeScript tests. `python -m tests.vectors` writes them."""
