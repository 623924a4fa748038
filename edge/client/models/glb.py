"""Writes GLB files: pieces become quantized meshes with sparse morph targets, so that a head has few kilobytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.client.models.surfaces import Piece, Points, Shape, Weights

__all__ = ["GlbWriter"]

_FLOAT, _SHORT, _BYTE, _UBYTE, _USHORT = 5126, 5122, 5120, 5121, 5123
_MAGIC, _JSON, _BINARY = 0x46546C67, 0x4E4F534A, 0x004E4942
_SHORT_MAX: Final = 32_767
_BYTE_MAX: Final = 127
_NUDGE: Final = 1e-6
"""Processors differ in the last bit of a sine; halves must not be decided by it."""


def _whole(values: Points) -> Points:
    """The nearest whole numbers."""
    return np.floor(values + (0.5 + _NUDGE))


def _normals(points: Points, triangles: NDArray[np.int64]) -> Points:
    """Smooth normals; vertices at the same place share theirs, so that seams are not seen."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    _, place = np.unique(np.round(points, 4), axis=0, return_inverse=True)
    place = place.reshape(-1)
    sums = np.zeros((int(place.max()) + 1, 3))
    for corner in range(3):
        np.add.at(sums, place[triangles[:, corner]], faces)
    normals = sums[place]
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    # A shut mouth has no area, but a front.
    return np.where(lengths > 1e-9, normals / np.maximum(lengths, 1e-9), np.array([0.0, 0.0, 1.0]))


class GlbWriter:
    """Collects pieces and nodes, then writes one file.

    Positions are 16-bit shares of a cube around each mesh, movements 8-bit shares: a step is less than a hair.

    Args:
        materials: glTF materials by name.
    """

    def __init__(self, materials: Mapping[str, dict[str, Any]]) -> None:
        self._moves = bytearray()
        self._known_moves: dict[bytes, int] = {}
        self._known: dict[tuple[bytes | int, ...], int] = {}
        self._material_index = {name: index for index, name in enumerate(materials)}
        self._binary = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._meshes: list[dict[str, Any]] = []
        self.nodes: list[dict[str, Any]] = []
        self._materials = [{"name": name, **material} for name, material in materials.items()]

    def node(self, name: str, parent: int | None = None, **properties: Any) -> int:
        """Add a node below another; its index."""
        self.nodes.append({"name": name, **properties})
        index = len(self.nodes) - 1
        if parent is not None:
            self.nodes[parent].setdefault("children", []).append(index)
        return index

    def mesh(
        self,
        name: str,
        parent: int,
        pieces: Sequence[Piece],
        poses: Mapping[str, Weights],
        origin: Points | None = None,
    ) -> int:
        """Add a mesh of one primitive per material, with a morph target per pose that moves any of it; its node.

        Args:
            origin: where the parent stands, in the pieces' own coordinates.
        """
        merged, lit = _merge(pieces)
        rest = [piece.shape({}) for piece in merged]
        everything = np.concatenate(rest)
        low, high = everything.min(axis=0), everything.max(axis=0)
        center: Points = _whole((low + high) * 500.0) / 1_000.0
        targets = {pose: [piece.shape(weights) - at for piece, at in zip(merged, rest, strict=True)]
                   for pose, weights in poses.items()}  # fmt: skip
        furthest = max((float(np.abs(move).max()) for moves in targets.values() for move in moves), default=0.0)
        scale = float(np.ceil(max(float(np.abs(everything - center).max()), furthest) * 1_000 - _NUDGE) / 1_000)
        used = {pose: moves for pose, moves in targets.items() if any(_bytes(move / scale).any() for move in moves)}
        primitives: list[dict[str, Any]] = []
        for at, piece in enumerate(merged):
            primitive = self._primitive(piece, (rest[at] - center) / scale, lit[at])
            if used:
                primitive["targets"] = [{"POSITION": self._sparse(moves[at] / scale)} for moves in used.values()]
            primitives.append(primitive)
        mesh: dict[str, Any] = {"name": name, "primitives": primitives}
        if used:
            mesh["extras"] = {"targetNames": list(used)}
        self._meshes.append(mesh)
        offset: Points = center if origin is None else center - origin
        place = [round(float(value), 6) for value in offset]
        return self.node(name, parent, mesh=len(self._meshes) - 1, translation=place, scale=[scale] * 3)

    def target_names(self, mesh: int) -> list[str]:
        """Names of a mesh's morph targets."""
        return list(self._meshes[mesh].get("extras", {}).get("targetNames", []))

    def write(self, roots: Sequence[int], title: str, extensions: Mapping[str, Any] | None = None) -> bytes:
        """The file."""
        if self._moves:
            view = self._view(bytes(self._moves))
            for accessor in self._accessors:
                if "sparse" in accessor:
                    accessor["sparse"]["indices"]["bufferView"] = view
                    accessor["sparse"]["values"]["bufferView"] = view
        description: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "visavis", "copyright": title},
            "extensionsUsed": ["KHR_mesh_quantization", *(extensions or {})],
            "extensionsRequired": ["KHR_mesh_quantization"],
            "scene": 0,
            "scenes": [{"nodes": list(roots)}],
            "nodes": self.nodes,
            "meshes": self._meshes,
            "materials": self._materials,
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._binary)}],
        }
        if extensions:
            description["extensions"] = dict(extensions)
        text = json.dumps(description, separators=(",", ":"), ensure_ascii=True).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self._binary) + b"\0" * (-len(self._binary) % 4)
        head = struct.pack("<III", _MAGIC, 2, 12 + 8 + len(text) + 8 + len(binary))
        return head + struct.pack("<II", len(text), _JSON) + text + struct.pack("<II", len(binary), _BINARY) + binary

    def _view(self, data: bytes, **properties: int) -> int:
        known = self._known.get((data, *properties.values()))
        if known is not None:
            return known
        self._known[(data, *properties.values())] = len(self._views)
        self._binary += b"\0" * (-len(self._binary) % 4)
        self._views.append({"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data), **properties})
        self._binary += data
        return len(self._views) - 1

    def _accessor(self, **properties: Any) -> int:
        if properties in self._accessors:
            return self._accessors.index(properties)
        self._accessors.append(properties)
        return len(self._accessors) - 1

    def _primitive(self, piece: Piece, points: Points, lit: Points) -> dict[str, Any]:
        steps = _whole(points * _SHORT_MAX).clip(-_SHORT_MAX, _SHORT_MAX).astype("<i2")
        count = len(points)
        padded = np.zeros((count, 4), dtype="<i2")
        padded[:, :3] = steps
        normals = np.zeros((count, 4), dtype=np.int8)
        normals[:, :3] = _whole(_normals(lit, piece.triangles) * _BYTE_MAX)
        colours = np.full((count, 4), 255, dtype=np.uint8)
        colours[:, :3] = _whole(np.clip(piece.colours, 0, 1) * 255)
        position = self._accessor(
            bufferView=self._view(padded.tobytes(), byteStride=8, target=34_962),
            componentType=_SHORT, normalized=True, type="VEC3", count=count,
            min=steps.min(axis=0).tolist(), max=steps.max(axis=0).tolist(),
        )  # fmt: skip
        normal = self._accessor(
            bufferView=self._view(normals.tobytes(), byteStride=4, target=34_962),
            componentType=_BYTE, normalized=True, type="VEC3", count=count,
        )  # fmt: skip
        colour = self._accessor(
            bufferView=self._view(colours.tobytes(), byteStride=4, target=34_962),
            componentType=_UBYTE, normalized=True, type="VEC4", count=count,
        )  # fmt: skip
        index_type = _UBYTE if count <= 256 else _USHORT
        indices = piece.triangles.reshape(-1).astype("<u1" if index_type == _UBYTE else "<u2")
        index = self._accessor(
            bufferView=self._view(indices.tobytes(), target=34_963),
            componentType=index_type, type="SCALAR", count=len(indices),
        )  # fmt: skip
        return {
            "attributes": {"POSITION": position, "NORMAL": normal, "COLOR_0": colour},
            "indices": index,
            "material": self._material_index[piece.material],
        }

    def _sparse(self, moves: Points) -> int:
        steps = _bytes(moves)
        moved = np.flatnonzero(steps.any(axis=1))
        if moved.size == 0:
            moved = np.array([0])  # glTF wants at least one
        index_type = _UBYTE if len(moves) <= 256 else _USHORT
        indices = moved.astype("<u1" if index_type == _UBYTE else "<u2").tobytes()
        values = steps[moved]
        data = indices + values.tobytes()
        first = self._known_moves.get(data)
        if first is None:
            self._moves += b"\0" * (-len(self._moves) % 2)
            first = self._known_moves[data] = len(self._moves)
            self._moves += data
        sparse = {
            "count": len(moved),
            "indices": {"bufferView": -1, "byteOffset": first, "componentType": index_type},
            "values": {"bufferView": -1, "byteOffset": first + len(indices)},
        }
        return self._accessor(
            componentType=_BYTE, normalized=True, type="VEC3", count=len(moves), sparse=sparse,
            min=values.min(axis=0, initial=0).tolist(), max=values.max(axis=0, initial=0).tolist(),
        )  # fmt: skip


def _bytes(moves: Points) -> NDArray[np.int8]:
    return _whole(moves * _BYTE_MAX).clip(-_BYTE_MAX, _BYTE_MAX).astype(np.int8)


def _together(parts: Sequence[Piece]) -> Shape:
    return lambda w: np.concatenate([part.shape(w) for part in parts])


def _merge(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Points]]:
    """One piece per material, in the order in which materials come, and each as it is lit."""
    found: list[Piece] = []
    lit: list[Points] = []
    for material in dict.fromkeys(piece.material for piece in pieces):
        parts = [piece for piece in pieces if piece.material == material]
        lit.append(np.concatenate([part.shape(part.lit) for part in parts]))
        first = np.cumsum([0, *(len(part.colours) for part in parts)])
        found.append(
            Piece(
                _together(parts),
                np.concatenate([part.triangles + start for part, start in zip(parts, first, strict=False)]),
                np.concatenate([part.colours for part in parts]),
                material,
            )
        )
    return found, lit
