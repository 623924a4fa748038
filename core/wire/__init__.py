"""Bytes between a POP and a viewer. SPEC.md is normative; edge/client/src/wire mirrors this package file by file."""
