"""Formats whose files can be lowered in several ways: ONNX and TFLite."""

from __future__ import annotations

import re
from abc import ABC
from typing import TYPE_CHECKING

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import tuning_table
from shufflenet_deploy.export.file_format import FileFormat
from shufflenet_deploy.export.lowering_names import AUTO

if TYPE_CHECKING:
    from shufflenet_deploy.export.request import ExportRequest


class LoweredFormat(FileFormat, ABC):
    """A format with ``lowerings``: the one chosen is part of a file's name, record and key."""

    def settled(self, request: ExportRequest) -> dict[str, str]:
        """Nothing changes; a converter of somebody's has no lowerings of ours."""
        if request.lowering != AUTO and not self.has_recipes(request.writer):
            raise UsageError(f"--lowering {request.lowering}: {request.writer} lowers as it likes")
        return {}

    def name_words(self, request: ExportRequest) -> list[str]:
        """The lowering, unless it is what ``auto`` usually stands for."""
        usual = tuning_table.shipped(self.name, request.precision)
        if request.lowering == AUTO and str(request.choice) == usual:
            return []
        return [re.sub(r"[^\w.-]+", "-", str(request.choice))]

    def options(self, request: ExportRequest) -> dict[str, str]:
        """The lowering that was asked for."""
        return {} if request.lowering == AUTO else {"lowering": str(request.choice)}

    def key(self, request: ExportRequest) -> dict[str, object]:
        """Whether a lowering was asked for, and which it is."""
        return {"lowering": [request.lowering == AUTO, str(request.choice)]}
