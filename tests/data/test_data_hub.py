"""Downloads with the hub's library replaced by a local stand-in: no network."""

import hashlib
import shutil
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import hookean.data as room
from hookean.data.dataset import DataError
from hookean.data.tiny_imagenet import LAYOUT as TINY

NAMES = {"train": "train-00000-of-00001-1359597a978bc4fa", "valid": "valid-00000-of-00001-70d52db3c749a935"}


class Hub:
    """A repository in a local folder, with the two functions of the library that are used."""

    def __init__(self, folder):
        self.folder = folder
        self.sha256 = {}
        self.fetched = []
        self.failure = None

    def list_repo_tree(self, repo_id, *, recursive, repo_type):
        assert (repo_id, recursive, repo_type) == (TINY.repository, True, "dataset")
        if self.failure:
            raise self.failure
        yield SimpleNamespace(path="data")  # a folder has no `lfs`
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            name = path.relative_to(self.folder).as_posix()
            stated = self.sha256.get(name, hashlib.sha256(path.read_bytes()).hexdigest())
            yield SimpleNamespace(path=name, lfs=stated and SimpleNamespace(sha256=stated))

    def hf_hub_download(self, *, repo_id, filename, repo_type, local_dir):
        assert (repo_id, repo_type) == (TINY.repository, "dataset")
        target = local_dir / filename
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.folder / filename, target)
            self.fetched.append(filename)
        return str(target)


@pytest.fixture
def hub(tmp_path, monkeypatch, images, encode, write_parquet):
    fake = Hub(tmp_path / "hub")
    for seed, name in enumerate(NAMES.values()):
        contents = [encode(image, "PNG") for image in images(3, 64, 3, seed)]
        write_parquet(tmp_path / f"hub/data/{name}.parquet", contents, [0, 5, 199])
    write_parquet(tmp_path / "hub/other/train-00000-of-00001.parquet", contents, [1, 1, 1])
    (tmp_path / "hub/README.md").write_text("not data")
    module = ModuleType("huggingface_hub")
    module.HfApi = lambda: fake
    module.hf_hub_download = fake.hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return fake


def files(folder):
    return sorted(path.name for path in folder.rglob("*.parquet"))


def test_a_download_fetches_both_splits_once_and_is_found_afterwards(tmp_path, hub, images):
    loaded = room.TinyImageNet().load(root=tmp_path / "root", download=True)
    np.testing.assert_array_equal(loaded.train.inputs, images(3, 64, 3, 0))
    np.testing.assert_array_equal(loaded.test.inputs, images(3, 64, 3, 1))
    assert hub.fetched == [f"data/{name}.parquet" for name in NAMES.values()]
    room.TinyImageNet().load(root=tmp_path / "root", download=True)
    room.TinyImageNet().load(root=tmp_path / "root")
    assert len(hub.fetched) == 2


def test_without_a_root_it_goes_to_the_cache_folder(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("HOOKEAN_DATA", str(tmp_path / "nothing"))
    room.TinyImageNet().load(download=True)
    assert len(files(tmp_path / "cache/data/tiny_imagenet")) == 2
    room.TinyImageNet().load()
    assert not (tmp_path / "nothing").exists()


def test_nothing_is_fetched_unless_asked(tmp_path, hub):
    with pytest.raises(DataError, match="--download"):
        room.TinyImageNet().load(root=tmp_path / "root")
    assert hub.fetched == []


def test_an_interrupted_download_is_completed(tmp_path, hub):
    room.TinyImageNet().load(root=tmp_path / "root", download=True)
    next((tmp_path / "root").rglob("valid*.parquet")).unlink()
    room.TinyImageNet().load(root=tmp_path / "root", download=True)
    assert hub.fetched[2:] == [f"data/{NAMES['valid']}.parquet"]


def test_a_file_with_another_checksum_is_removed(tmp_path, hub):
    hub.sha256[f"data/{NAMES['valid']}.parquet"] = "0" * 64
    with pytest.raises(DataError, match=r"valid.*arrived damaged.*the hub states 0{64}"):
        room.TinyImageNet().load(root=tmp_path / "root", download=True)
    assert files(tmp_path / "root") == [f"{NAMES['train']}.parquet"]


def test_a_file_without_a_checksum_is_not_kept(tmp_path, hub):
    hub.sha256[f"data/{NAMES['train']}.parquet"] = None
    with pytest.raises(DataError, match=r"states no SHA-256 for train"):
        room.TinyImageNet().load(root=tmp_path / "root", download=True)
    assert files(tmp_path / "root") == []


def test_a_hub_that_does_not_answer_is_one_clear_error(tmp_path, hub):
    hub.failure = ConnectionError("no route")
    with pytest.raises(DataError, match=r"did not list zh-plus/tiny-imagenet: no route.*HOOKEAN_DATA"):
        room.TinyImageNet().load(root=tmp_path / "root", download=True)


def test_a_transfer_that_fails_names_the_file(tmp_path, hub, monkeypatch):
    def broken(**_):
        raise TimeoutError("too slow")

    monkeypatch.setattr(sys.modules["huggingface_hub"], "hf_hub_download", broken)
    with pytest.raises(DataError, match=r"download of data/train.*failed: too slow"):
        room.TinyImageNet().load(root=tmp_path / "root", download=True)


def test_a_repository_without_the_files_is_one_clear_error(tmp_path, hub):
    shutil.rmtree(tmp_path / "hub/data")
    with pytest.raises(DataError, match=r"tiny-imagenet/data on the hub is not as expected: no train"):
        room.TinyImageNet().load(root=tmp_path / "root", download=True)


def test_without_the_library_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r'pip install "hookean\[hub\]".*HOOKEAN_DATA'):
        room.TinyImageNet().load(root=tmp_path / "root", download=True)
