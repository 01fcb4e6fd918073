"""CelebA from a small file in the hub's layout: central squares of 64 pixels, and true or false as the label."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hookean.data import CelebA
from hookean.data.dataset import DataError


def write(path, contents, smiling):
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": content, "path": None} for content in contents], kind)
    pq.write_table(pa.table({"image": rows, "celeb_id": pa.array(range(len(contents))), "Smiling": smiling}), path)


def face(seed):
    """An image of 218 rows: a colour above and below that the square leaves out, and a slope from left to right."""
    slope = np.broadcast_to(np.linspace(10, 240, 178)[None, :, None], (178, 178, 3))
    image = np.full((218, 178, 3), 7 * seed)
    image[20:198] = slope
    return image.astype(np.uint8)


def test_faces_are_central_squares_and_labels_say_who_smiles(tmp_path, encode):
    contents = [encode(face(seed), "PNG") for seed in range(3)]
    write(tmp_path / "celeba/train-00000-of-00002.parquet", contents, [True, False, True])
    write(tmp_path / "celeba/train-00001-of-00002.parquet", contents[:1], [False])
    write(tmp_path / "celeba/test-00000-of-00001.parquet", contents, [False, True, False])
    for attempt in range(2):  # decoded, then from the cache
        loaded = CelebA().load(root=tmp_path)
        assert loaded.train.inputs.shape == (4, 64, 64, 3), attempt
        assert loaded.train.labels.tolist() == [1, 0, 1, 0]
        assert loaded.test.labels.tolist() == [0, 1, 0]
        expected = np.interp((np.arange(64) + 0.5) * 178 / 64 - 0.5, np.arange(178), np.linspace(10, 240, 178))
        inside = loaded.train.inputs[:, 3:-3, 3:-3, 0].astype(float)
        np.testing.assert_allclose(inside, np.broadcast_to(expected[3:-3], inside.shape), atol=1.5)
    assert loaded.shape == (64, 64, 3)


def test_missing_faces_are_not_fetched_without_being_asked(tmp_path):
    with pytest.raises(DataError, match=r"no complete copy of celeba found(.|\n)*flwrlabs/celeba(.|\n)*--download"):
        CelebA().load(root=tmp_path)


def test_a_label_that_is_neither_number_nor_truth_is_refused(tmp_path, encode):
    for split in ("train", "test"):
        write(tmp_path / f"celeba/{split}.parquet", [encode(face(0), "PNG")], ["yes"])
    with pytest.raises(DataError, match="`Smiling` must hold integers, or true and false; got string"):
        CelebA().load(root=tmp_path)
