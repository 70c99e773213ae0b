"""Validation of exported files: the held-out images, and the module's logits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shufflenet_deploy.export import parity
from shufflenet_deploy.export.image_set import Batches, ImageSet
from shufflenet_deploy.export.request import ExportRequest, Tolerances
from shufflenet_deploy.records import Parity, Precision

if TYPE_CHECKING:
    from shufflenet_deploy.zoo.model import Model


class Validator:
    """Validate one file after another on held-out images; few where an emulator has to run it."""

    def __init__(
        self, model: Model, request: ExportRequest, images: ImageSet, multiply_adds: int
    ) -> None:
        """Decode the images, before a conversion takes its time.

        Raises:
            UsageError: one of them cannot be read.
        """
        self._model, self._request = model, request
        paths = images.validation_set(request.resolution)
        few = set(images.emulated_validation_set(request.resolution, multiply_adds))
        self._all = list(Batches(paths, model.preprocessing, request.resolution))
        self._few = [one for one, path in zip(self._all, paths, strict=True) if path in few]
        self._expected: dict[bool, list[parity.FloatArray]] = {}

    def validate(self, file: parity.ExportedFile) -> Parity:
        """Compare a file's logits with the module's."""
        images, wanted = self._images_and_logits(file)
        got = [file.run(image) for image in images]
        found = self._compared(wanted, got, self._request.tolerances)
        if found.passed or self._request.precision is not Precision.FP32:
            return found
        return self._beside_float32(found, images, got)

    def _compared(
        self,
        wanted: list[parity.FloatArray],
        got: list[parity.FloatArray],
        tolerances: Tolerances,
    ) -> Parity:
        return parity.compare_logits(
            wanted,
            got,
            precision=self._request.precision,
            tolerances=tolerances,
            trained=self._model.weights.trained,
        )

    def _beside_float32(
        self, found: Parity, images: list[parity.FloatArray], got: list[parity.FloatArray]
    ) -> Parity:
        """Parity with the tolerances that the module's own rounding leaves, if it meets them."""
        exact = parity.expected_in_float64(self._model.module, images)
        if exact is None or not all(np.isfinite(one).all() for one in exact):
            return found
        wanted = parity.expected(self._model.module, images)
        sqnr_db = min(parity.sqnr_db(a, b) for a, b in zip(exact, wanted, strict=True))
        largest = max(float(np.abs(one).max()) for one in exact) or 1.0
        difference = max(float(np.abs(a - b).max()) for a, b in zip(exact, wanted, strict=True))
        allowed = self._request.tolerances.beside_float32(sqnr_db, difference / largest)
        again = self._compared(wanted, got, allowed)
        return again.model_copy(update={"float32_sqnr_db": sqnr_db}) if again.passed else found

    def unusable(self, reason: str) -> Parity:
        """Failed parity, where there is no file to run."""
        return parity.unusable(len(self._all), reason)

    def worst_input(self, file: parity.ExportedFile) -> parity.FloatArray:
        """Image with the lowest SQNR of the logits."""
        images, wanted = self._images_and_logits(file)
        noise = [
            parity.sqnr_db(logits, file.run(image))
            for logits, image in zip(wanted, images, strict=True)
        ]
        return images[noise.index(min(noise))]

    def _images_and_logits(
        self, file: parity.ExportedFile
    ) -> tuple[list[parity.FloatArray], list[parity.FloatArray]]:
        """A file's images and the module's logits, which the files of all recipes share."""
        images = self._few if file.emulated else self._all
        if file.emulated not in self._expected:
            self._expected[file.emulated] = parity.expected(self._model.module, images)
        return images, self._expected[file.emulated]
