"""The loader on small files in the hub's layout: every set, every place, every kind of damage, the cache."""

import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hookean.data as room
from hookean.data import cache, parquet
from hookean.data.cifar10 import LAYOUT as CIFAR10
from hookean.data.dataset import DataError
from hookean.data.layout import search_places
from hookean.data.mnist import LAYOUT as MNIST
from hookean.data.parquet import load_images, read_file

LABELS = (3, 0, 9, 1, 7)


@pytest.fixture
def pngs(images, encode):
    def make(n=5, side=6, channels=1, seed=0):
        raw = images(n, side, channels, seed)
        return raw, [encode(image, "PNG") for image in raw]

    return make


@pytest.fixture
def mnist(tmp_path, pngs, write_parquet):
    """A data root with a small MNIST; returns the root and the raw images."""
    train, encoded = pngs(seed=1)
    test, others = pngs(seed=2)
    write_parquet(tmp_path / "root/mnist/train.parquet", encoded, LABELS)
    write_parquet(tmp_path / "root/mnist/test.parquet", others, LABELS[::-1])
    return tmp_path / "root", train, test


@pytest.mark.parametrize(
    ("name", "folder", "side", "image", "label", "test"),
    [
        ("MNIST", "mnist", 28, "image", "label", "test"),
        ("FashionMNIST", "fashion_mnist", 28, "image", "label", "test"),
        ("CIFAR10", "cifar10", 32, "img", "label", "test"),
        ("CIFAR100", "cifar100", 32, "img", "fine_label", "test"),
        ("TinyImageNet", "tiny_imagenet", 64, "image", "label", "valid"),
    ],
)
def test_every_set_loads_in_the_layout_of_the_hub(
    tmp_path, pngs, write_parquet, name, folder, side, image, label, test
):
    channels = 1 if "MNIST" in name else 3
    parts = {}
    for seed, split in enumerate(("train", test)):
        parts[split], encoded = pngs(5, side, channels, seed)
        extra = {"coarse_label": [0] * 5} if label == "fine_label" else None
        labels = np.roll(LABELS, seed)
        write_parquet(tmp_path / folder / f"{split}.parquet", encoded, labels, image=image, label=label, extra=extra)
    loaded = getattr(room, name)().load(root=tmp_path)
    np.testing.assert_array_equal(loaded.train.inputs, parts["train"])
    np.testing.assert_array_equal(loaded.test.inputs, parts[test])
    np.testing.assert_array_equal(loaded.train.labels, LABELS)
    np.testing.assert_array_equal(loaded.test.labels, np.roll(LABELS, 1))
    assert loaded.shape == (*(2 * [56 if side == 64 else side]), channels)
    classes = {"CIFAR100": 100, "TinyImageNet": 200}.get(name, 10)
    assert loaded.number_of_classes == len(set(loaded.classes)) == classes
    human = {"CIFAR10": "CIFAR-10", "CIFAR100": "CIFAR-100", "TinyImageNet": "Tiny ImageNet"}
    assert (loaded.name, loaded.label) == (name, human.get(name, name))


def test_grey_images_become_colour_where_the_set_is_in_colour(tmp_path, images, encode, write_parquet):
    grey, colour = images(1, 64, 1)[0], images(1, 64, 3)[0]
    smooth = np.linspace(0, 250, 64 * 64).reshape(64, 64, 1).astype(np.uint8)
    contents = [encode(grey, "PNG"), encode(colour, "PNG"), encode(smooth, "JPEG")]
    for split in ("train", "valid"):
        write_parquet(tmp_path / f"tiny_imagenet/{split}.parquet", contents, [0, 199, 5])
    inputs = room.TinyImageNet().load(root=tmp_path).train.inputs
    np.testing.assert_array_equal(inputs[0], np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(inputs[1], colour)
    assert np.abs(inputs[2].astype(int) - smooth).max() <= 3


def test_jpeg_is_found_in_the_bytes_and_said(tmp_path, images, encode, write_parquet):
    raw = images(4, 32, 3)
    lossless = [encode(image, "PNG") for image in raw]
    lossy = [lossless[0], encode(raw[1], "JPEG"), *lossless[2:]]
    write_parquet(tmp_path / "cifar10/test.parquet", lossless, [0] * 4, image="img")
    for contents, label in ((lossless, "CIFAR-10"), (lossy, "CIFAR-10 (JPEG)")):
        write_parquet(tmp_path / "cifar10/train.parquet", contents, [0] * 4, image="img")
        assert room.CIFAR10().load(root=tmp_path).label == label
        assert room.CIFAR10().load(root=tmp_path).label == label, "the same from the cache"


def test_tiny_imagenet_of_20000_images_is_labelled_so(tmp_path, encode, write_parquet):
    content = encode(np.zeros((56, 56, 3), np.uint8), "PNG")
    write_parquet(tmp_path / "tiny_imagenet/valid.parquet", [content] * 2, [0, 1])
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": content, "path": None}] * 20_000, kind)
    table = pa.table({"image": rows, "label": pa.array(np.arange(20_000) % 200)})
    pq.write_table(table, tmp_path / "tiny_imagenet/train.parquet")
    assert room.TinyImageNet().load(root=tmp_path).label == "Tiny ImageNet (20k)"


@pytest.mark.parametrize(
    "folder",
    ["mnist", "mnist/data", "mnist/mnist", "ylecun/mnist", "ylecun/mnist/mnist"],
)
def test_copies_of_the_hub_are_found_with_several_shards(tmp_path, pngs, write_parquet, folder):
    raw, encoded = pngs()
    place = tmp_path / folder
    write_parquet(place / "train-00001-of-00002.parquet", encoded[2:], LABELS[2:])
    write_parquet(place / "train-00000-of-00002.parquet", encoded[:2], LABELS[:2])
    write_parquet(place / "test-00000-of-00001-70d52db3c749a935.parquet", encoded, LABELS)
    (place / "README.md").write_text("not data")
    loaded = load_images(MNIST, root=tmp_path)
    np.testing.assert_array_equal(loaded.train.inputs, raw)
    np.testing.assert_array_equal(loaded.train.labels, LABELS)
    np.testing.assert_array_equal(loaded.test.inputs, raw)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train.parquet"], r"no test\*\.parquet"),
        (["train-00001-of-00002.parquet", "test.parquet"], r"1 of 2 shards of train"),
        (["train.parquet", "train-00000-of-00001.parquet", "test.parquet"], r"several copies of train"),
        (["train.parquet", "train_old.parquet", "test.parquet"], r"train_old.parquet.*keep one"),
    ],
)
def test_incomplete_and_double_copies_are_refused(tmp_path, pngs, write_parquet, names, message):
    for name in names:
        write_parquet(tmp_path / "mnist" / name, pngs()[1], LABELS)
    with pytest.raises(DataError, match=message):
        load_images(MNIST, root=tmp_path)


def test_missing_data_say_where_and_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"(?s)no complete copy of mnist.*Set `root` to.*--download"):
        load_images(MNIST, root=tmp_path / "absent")
    monkeypatch.setenv("HOOKEAN_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"(?s)absent.mnist: no such folder.*HOOKEAN_DATA.*--download"):
        load_images(MNIST)


def test_the_argument_goes_before_the_environment_and_that_before_downloads(tmp_path, mnist, monkeypatch):
    root, train, _ = mnist
    downloads = tmp_path / "cache/data"
    assert search_places(None) == (downloads,)
    monkeypatch.setenv("HOOKEAN_DATA", str(root))
    assert search_places(None) == (root, downloads)
    assert search_places(tmp_path) == (tmp_path,)
    np.testing.assert_array_equal(load_images(MNIST).train.inputs, train)
    with pytest.raises(DataError, match="no complete copy"):
        load_images(MNIST, root=tmp_path)


def good(encode, images):
    return [encode(image, "PNG") for image in images(5, 6, 1)]


@pytest.mark.parametrize("content", [b"", b"no Parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_not_parquet_is_named(tmp_path, content):
    (tmp_path / "bad.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.parquet: cannot be read as Parquet"):
        read_file(tmp_path / "bad.parquet", channels=1)


def test_a_truncated_file_is_named(tmp_path, mnist):
    path = mnist[0] / "mnist/train.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train\.parquet: cannot be read as Parquet"):
        read_file(path, channels=1)


def test_a_missing_column_is_named(tmp_path, images, encode, write_parquet):
    path = write_parquet(tmp_path / "a.parquet", good(encode, images), LABELS, image="picture")
    with pytest.raises(DataError, match=r"column `image` or `img`; got picture, label"):
        read_file(path, channels=1)
    path = write_parquet(tmp_path / "b.parquet", good(encode, images), LABELS, label="coarse_label")
    with pytest.raises(DataError, match=r"column `fine_label`; got image, coarse_label"):
        read_file(path, channels=1, label_column="fine_label")


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (pa.array([b"x"]), pa.array([1]), r"`image` must be struct<bytes: binary, path: string>; got binary"),
        (pa.array([{"bytes": "x"}]), pa.array([1]), r"`image` must be struct.*got struct<bytes: string>"),
        (pa.array([{"path": "x"}]), pa.array([1]), r"`image` must be struct.*got struct<path: string>"),
        (pa.array([{"bytes": b"x"}]), pa.array([1.0]), r"`label` must hold integers, or true and false; got double"),
        (pa.array([{"bytes": b"x"}]), pa.array(["cat"]), r"`label` must hold integers, or true and false; got string"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(tmp_path, image, label, message):
    pq.write_table(pa.table({"image": image, "label": label}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / "a.parquet", channels=1)


def test_a_file_without_rows_is_refused(tmp_path, write_parquet):
    with pytest.raises(DataError, match=r"at least one row; got none"):
        read_file(write_parquet(tmp_path / "a.parquet", [], []), channels=1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: b"noise", r"row 4 of `image` cannot be decoded"),
        (lambda content: content[:50], r"row 4 of `image` cannot be decoded"),
        (lambda content: None, r"row 4 of `image` has no bytes"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named_with_its_row(tmp_path, images, encode, write_parquet, spoil, message):
    contents = good(encode, images)
    contents[4] = spoil(contents[4])
    with pytest.raises(DataError, match=message):
        read_file(write_parquet(tmp_path / "a.parquet", contents, LABELS), channels=1)


def test_a_truncated_jpeg_is_named_with_its_row(tmp_path, images, encode, write_parquet):
    contents = [encode(image, "JPEG") for image in images(4, 32, 3)]
    contents[2] = contents[2][:-200]
    path = write_parquet(tmp_path / "a.parquet", contents, LABELS[:4], image="img")
    with pytest.raises(DataError, match=r"row 2 of `img` cannot be decoded"):
        read_file(path, channels=3)


def test_colour_in_a_grey_set_is_refused(tmp_path, images, encode, write_parquet):
    contents = [encode(image, "PNG") for image in images(2, 6, 3)]
    with pytest.raises(DataError, match=r"row 0 of `image` cannot be decoded: its mode must be L, it is RGB"):
        read_file(write_parquet(tmp_path / "a.parquet", contents, [0, 1]), channels=1)


def test_images_of_unequal_size_are_refused(tmp_path, images, encode, write_parquet):
    contents = good(encode, images)
    contents[3] = encode(images(1, 7, 1)[0], "PNG")
    with pytest.raises(DataError, match=r"one size; got 7 x 7 pixels in row 3, 6 x 6 in row 0"):
        read_file(write_parquet(tmp_path / "a.parquet", contents, LABELS), channels=1)
    for shard, side in enumerate((6, 7)):
        name = f"mnist/train-0000{shard}-of-00002.parquet"
        write_parquet(tmp_path / name, [encode(images(1, side, 1)[0], "PNG")], [0])
    write_parquet(tmp_path / "mnist/test.parquet", good(encode, images), LABELS)
    with pytest.raises(DataError, match=r"00001-of-00002.*one size in all shards; got 7 x 7.*6 x 6"):
        load_images(MNIST, root=tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"row 2 has no `label`"),
        (-1, r"`label` must be 0 or more; got -1 in row 2"),
        (2**40, r"got 1099511627776 in row 2"),
    ],
)
def test_a_label_that_is_none_is_named_with_its_row(tmp_path, images, encode, write_parquet, value, message):
    labels = [0, 1, value, 3, 4]
    with pytest.raises(DataError, match=message):
        read_file(write_parquet(tmp_path / "a.parquet", good(encode, images), labels), channels=1)


def test_a_label_without_a_class_is_refused(tmp_path, images, encode, write_parquet):
    write_parquet(tmp_path / "mnist/train.parquet", good(encode, images), LABELS)
    write_parquet(tmp_path / "mnist/test.parquet", good(encode, images), [0, 1, 2, 10, 4])
    with pytest.raises(DataError, match=r"MNIST: labels of test must be in 0..9.*got 10 first at index 3"):
        room.MNIST().load(root=tmp_path)


@pytest.fixture
def decodings(monkeypatch):
    """Count how many images are decoded."""
    count = []
    original = parquet._decode
    monkeypatch.setattr(parquet, "_decode", lambda *given: count.append(1) or original(*given))
    return count


def cached(tmp_path):
    return sorted((tmp_path / "cache/images").iterdir())


def test_the_second_load_decodes_nothing(tmp_path, mnist, decodings):
    root, train, test = mnist
    load_images(MNIST, root=root)
    assert len(decodings) == 10
    again = load_images(MNIST, root=root)
    assert len(decodings) == 10
    np.testing.assert_array_equal(again.train.inputs, train)
    np.testing.assert_array_equal(again.test.inputs, test)
    np.testing.assert_array_equal(again.train.labels, LABELS)
    assert len(cached(tmp_path)) == 2
    assert all(path.suffix == ".npz" for path in cached(tmp_path)), "no temporary file stays"


def test_the_cache_follows_the_content_and_the_number_of_channels(tmp_path, mnist, pngs, write_parquet):
    path = mnist[0] / "mnist/train.parquet"
    assert read_file(path, channels=1)[0].shape == (5, 6, 6, 1)
    assert read_file(path, channels=3)[0].shape == (5, 6, 6, 3)
    other, encoded = pngs(seed=7)
    write_parquet(path, encoded, LABELS)
    np.testing.assert_array_equal(read_file(path, channels=1)[0], other)


def flip_a_bit(content):
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [flip_a_bit, lambda content: content[:-30], lambda content: b"", lambda content: b"noise" * 50]
)
def test_a_damaged_cache_is_decoded_again_and_replaced(tmp_path, mnist, decodings, caplog, damage):
    root, train, test = mnist
    load_images(MNIST, root=root)
    for path in cached(tmp_path):
        path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        again = load_images(MNIST, root=root)
    assert len(decodings) == 20
    assert "decoded again" in caplog.text
    np.testing.assert_array_equal(again.train.inputs, train)
    np.testing.assert_array_equal(again.test.inputs, test)
    load_images(MNIST, root=root)
    assert len(decodings) == 20, "the damaged copies were replaced"


def test_a_cache_with_other_arrays_is_decoded_again(tmp_path, mnist, decodings):
    root, train, _ = mnist
    load_images(MNIST, root=root)
    for path in cached(tmp_path):
        np.savez(path, images=np.zeros((5, 6, 6), np.uint8), labels=np.zeros(5, np.int32), jpeg=np.array(False))
    np.testing.assert_array_equal(load_images(MNIST, root=root).train.inputs, train)
    assert len(decodings) == 20


def test_a_cache_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, mnist, monkeypatch, caplog):
    root, train, _ = mnist
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HOOKEAN_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(load_images(MNIST, root=root).train.inputs, train)
    assert "not cached" in caplog.text
    assert "HOOKEAN_CACHE" in caplog.text


def test_a_full_disk_costs_a_warning_only_and_leaves_nothing(tmp_path, mnist, monkeypatch, caplog):
    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "savez", full)
    root, train, _ = mnist
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(load_images(MNIST, root=root).train.inputs, train)
    assert "No space left" in caplog.text
    assert cached(tmp_path) == []


def test_names_of_the_hub():
    assert (MNIST.repository, MNIST.hub_folder) == ("ylecun/mnist", "mnist")
    assert (CIFAR10.repository, CIFAR10.hub_folder) == ("uoft-cs/cifar10", "plain_text")
