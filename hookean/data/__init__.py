"""The data sets. What this room exports is what is registered: one file and one line here add a data set."""

from .celeba import CelebA as CelebA
from .cifar10 import CIFAR10 as CIFAR10
from .cifar100 import CIFAR100 as CIFAR100
from .digits import Digits as Digits
from .emnist import EMNIST as EMNIST
from .fashion_mnist import FashionMNIST as FashionMNIST
from .iris import Iris as Iris
from .kmnist import KMNIST as KMNIST
from .mnist import MNIST as MNIST
from .not_mnist import NotMNIST as NotMNIST
from .tiny_imagenet import TinyImageNet as TinyImageNet
from .two_moons import TwoMoons as TwoMoons
