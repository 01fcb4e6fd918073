"""CelebA: faces of well-known people, for reconstruction."""

from pathlib import Path
from typing import final

from .dataset import AbstractDataset, Data
from .layout import Layout
from .parquet import load_images
from .transform import Transform

LAYOUT = Layout(
    folder="celeba",
    repository="flwrlabs/celeba",
    hub_folder="img_align+identity+attr",
    channels=3,
    label_column="Smiling",
    side=64,
)
TRANSFORM = Transform(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), flip=0.5)  # to -1..1


@final
class CelebA(AbstractDataset):
    """Faces of well-known people, 64 x 64 colour, 162,770 to train and 19,962 to test; the label says who smiles.

    The aligned images of 178 x 218 are cut to their central square and resized as they are read: 2 GB in memory, where
    the originals would take 24. The validation split is not read.
    """

    name = "CelebA"
    summary = "faces, 64 x 64 colour, smiling or not, 162,770 + 19,962; about 10 GB to download"
    reference = (
        "Z. Liu, P. Luo, X. Wang and X. Tang: Deep learning face attributes in the wild. "
        "IEEE International Conference on Computer Vision, 2015."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data from the first local copy, or from the hub where `download` allows it."""
        images = load_images(LAYOUT, root=root, download=download)
        return Data(self.name, images.train, images.test, ("serious", "smiling"), TRANSFORM, "CelebA")
