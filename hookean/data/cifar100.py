"""CIFAR-100: small colour photographs of a hundred kinds of things."""

from pathlib import Path
from typing import final

from .dataset import AbstractDataset, Data
from .layout import Layout
from .parquet import load_images
from .transform import Transform

LAYOUT = Layout(
    folder="cifar100",
    repository="uoft-cs/cifar100",
    hub_folder="cifar100",
    channels=3,
    label_column="fine_label",
)
NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CLASSES = tuple(NAMES.split())
# Mean and standard deviation of the training images, as published comparisons of predictive coding have them.
TRANSFORM = Transform(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761), flip=0.5, crop=32, padding=4)


@final
class CIFAR100(AbstractDataset):
    """Photographs of 100 kinds of things (fine labels), 32 x 32 colour, 50,000 to train, 10,000 to test."""

    name = "CIFAR100"
    summary = "photographs of a hundred kinds of things, 32 x 32 colour, 100 classes, 50,000 + 10,000"
    reference = (
        "A. Krizhevsky: Learning multiple layers of features from tiny images. Technical report, "
        "University of Toronto, 2009."
    )
    task_kind = "classification"

    def load(self, *, root: Path | None = None, download: bool = False) -> Data:
        """Return the data from the first local copy, or from the hub where `download` allows it."""
        images = load_images(LAYOUT, root=root, download=download)
        return Data(self.name, images.train, images.test, CLASSES, TRANSFORM, images.label("CIFAR-100"))
