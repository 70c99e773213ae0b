"""The held-out images that a file is judged by, beside what its module says to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shufflenet_deploy.export import parity
from shufflenet_deploy.export.image_set import Batches, ImageSet
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.records import Parity

if TYPE_CHECKING:
    from shufflenet_deploy.zoo.model import Model


class Validator:
    """Judges one file after another, however each is run: an emulator answers few images."""

    def __init__(
        self, model: Model, wish: ExportRequest, images: ImageSet, multiply_adds: int
    ) -> None:
        """Decode the images, before a conversion takes its time.

        Raises:
            UsageError: one of them cannot be read.
        """
        self._model, self._wish = model, wish
        paths = images.judges(wish.resolution)
        few = set(images.emulated_judges(wish.resolution, multiply_adds))
        self._all = list(Batches(paths, model.preprocessing, wish.resolution))
        self._few = [one for one, path in zip(self._all, paths, strict=True) if path in few]
        self._said: dict[bool, list[parity.FloatArray]] = {}

    def verdict(self, file: parity.ExportedFile) -> Parity:
        """How far a file's scores are from the module's."""
        images, wanted = self._scored(file)
        return parity.judge(
            wanted,
            [file.run(image) for image in images],
            precision=self._wish.precision,
            floors=self._wish.floors,
            trained=self._model.weights.trained,
        )

    def unusable(self, reason: str) -> Parity:
        """The verdict where there is no file to ask."""
        return parity.unusable(len(self._all), reason)

    def hardest(self, file: parity.ExportedFile) -> parity.FloatArray:
        """The image whose scores suffer most."""
        images, wanted = self._scored(file)
        noise = [
            parity.sqnr_db(scores, file.run(image))
            for scores, image in zip(wanted, images, strict=True)
        ]
        return images[noise.index(min(noise))]

    def _scored(
        self, file: parity.ExportedFile
    ) -> tuple[list[parity.FloatArray], list[parity.FloatArray]]:
        """A file's images and the module's scores, which the files of all recipes share."""
        images = self._few if file.emulated else self._all
        if file.emulated not in self._said:
            self._said[file.emulated] = parity.expected(self._model.module, images)
        return images, self._said[file.emulated]
