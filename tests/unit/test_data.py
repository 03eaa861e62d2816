"""Loaders read the standard files; truncated and foreign ones are named."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tdco import data
from tdco.cli import main
from tdco.data.cifar10 import JPEG, TEST, TRAIN, _binary_batch
from tdco.data.mnist import MD5
from tdco.errors import TdcoError, TdcoWarning

RNG = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, train: int = 6, test: int = 3) -> dict[str, np.ndarray]:
    sizes = dict(zip(MD5, (train, train, test, test), strict=True))
    arrays = {
        name: RNG.integers(0, 256, (n, 28, 28), np.uint8) if "images" in name else RNG.integers(0, 10, n, np.uint8)
        for name, n in sizes.items()
    }
    for number, (name, array) in enumerate(arrays.items()):
        packed = gzip.compress(idx(array)) if number % 2 else idx(array)
        (folder / (name + ".gz" * (number % 2))).write_bytes(packed)
    return arrays


def test_idx_files(tmp_path: Path) -> None:
    arrays = write_idx(tmp_path)
    with pytest.warns(TdcoWarning, match="another data set than MNIST"):
        found = data.load(str(tmp_path))
    images, labels, *_ = arrays.values()
    assert found.train_images.shape == (6, 3, 32, 32) and found.test_images.shape == (3, 3, 32, 32)
    assert (found.train_labels == labels).all() and found.name == tmp_path.name
    inner = found.train_images[:, 1, 2:-2, 2:-2].astype(np.float64)
    assert np.allclose(inner, images / 127.5 - 1, atol=2**-11) and (found.train_images[:, :, :2] == -1).all()


@pytest.mark.parametrize("name", MD5)
def test_truncated_and_missing_idx_files_are_named(tmp_path: Path, name: str) -> None:
    write_idx(tmp_path)
    file = next(tmp_path.glob(f"{name}*"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    with pytest.raises(TdcoError, match=r"bytes of|no whole gzip") as e:
        data.load(str(tmp_path))
    assert file.name in e.value.where
    file.write_bytes(b"<html>not found</html>" if file.suffix != ".gz" else gzip.compress(b"<html>"))
    with pytest.raises(TdcoError, match="no IDX file"):
        data.load(str(tmp_path))
    file.unlink()
    with pytest.raises(TdcoError, match=f"has no {name}"):
        data.load(str(tmp_path))


def python_batch(count: int, labels: np.ndarray | None = None) -> tuple[np.ndarray, bytes]:
    pixels = RNG.integers(0, 256, (count, 3072), np.uint8)
    labels = RNG.integers(0, 10, count) if labels is None else labels
    return pixels, pickle.dumps({b"data": pixels, b"labels": labels.tolist()}, protocol=2)


def test_python_batches_of_cifar10(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    first = None
    for name in (*TRAIN, TEST):
        pixels, content = python_batch(4)
        first = pixels if first is None else first
        (folder / name).write_bytes(content)
    with pytest.warns(TdcoWarning, match="not the published file"):
        found = data.load(str(tmp_path))
    assert found.name == "CIFAR-10" and found.train_images.shape == (20, 3, 32, 32)
    assert first is not None
    assert np.allclose(found.train_images[0], first[0].reshape(3, 32, 32) / 127.5 - 1, atol=2**-11)
    (folder / TEST).unlink()
    with pytest.raises(TdcoError, match="is missing"), pytest.warns(TdcoWarning):
        data.load(str(tmp_path))


def test_a_pickle_calls_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "called"),)

    for name in (*TRAIN, TEST):
        (tmp_path / name).write_bytes(pickle.dumps({b"data": Evil()}, protocol=2))
    with pytest.raises(TdcoError, match="would call"), pytest.warns(TdcoWarning):
        data.load(str(tmp_path))
    assert not (tmp_path / "called").exists()


def test_binary_batches_of_cifar10(tmp_path: Path) -> None:
    samples = RNG.integers(0, 10, (10_000, 3073), np.uint8)
    file = tmp_path / "data_batch_1.bin"
    file.write_bytes(samples.tobytes())
    images, labels = _binary_batch(file)
    assert (labels == samples[:, 0]).all()
    assert np.allclose(images[7], samples[7, 1:].reshape(3, 32, 32) / 127.5 - 1, atol=2**-11)
    samples[3, 0] = 10
    file.write_bytes(samples.tobytes())
    with pytest.raises(TdcoError, match=r"data_batch_1\.bin: has a label 10"):
        _binary_batch(file)
    file.write_bytes(samples.tobytes()[:-1])
    with pytest.raises(TdcoError, match="30729999 bytes, a batch has 30730000"):
        data.load(str(tmp_path))


def test_the_jpeg_copy_of_cifar10(tmp_path: Path) -> None:
    """Pictures one behind the other in an array of bytes; none of its files may lack."""
    for name in JPEG:
        pictures = []
        for value in (0, 255):
            file = io.BytesIO()
            Image.new("RGB", (32, 32), (value, value, value)).save(file, "jpeg")
            pictures.append(np.frombuffer(file.getvalue(), np.uint8))
        offset = np.cumsum([0, *map(len, pictures)])
        np.savez(tmp_path / name, jpeg=np.concatenate(pictures), offset=offset, label=np.array([3, 7]))
    found = data.load(str(tmp_path))
    assert found.name == "CIFAR-10, JPEG-75 copy" and found.train_labels.tolist() == [3, 7] * 5
    assert found.test_images[:, 0, 0, 0].tolist() == [-1, 1]
    np.savez(tmp_path / JPEG[1], jpeg=np.concatenate(pictures)[:-1], offset=offset, label=np.array([3, 7]))
    with pytest.raises(TdcoError, match="do not go together"):
        data.load(str(tmp_path))
    (tmp_path / JPEG[1]).unlink()
    with pytest.raises(TdcoError, match=r"train_2.npz: is missing"):
        data.load(str(tmp_path))


def picture(folder: Path, name: str, value: int, size: tuple[int, int] = (40, 20)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 255)).save(folder / name)


def test_a_folder_of_images(tmp_path: Path) -> None:
    for label, name in enumerate(("cat", "dog")):
        for n in range(10):
            picture(tmp_path / name, f"{n}.png", 100 * label)
    found = data.load(str(tmp_path))
    assert found.train_labels.tolist() == [0] * 8 + [1] * 8 and found.test_labels.tolist() == [0, 0, 1, 1]
    assert np.allclose(found.test_images[3, :, 5, 5].astype(float), (100 / 127.5 - 1, -1, 1), atol=1e-3)
    (tmp_path / "cat" / "bad.png").write_bytes(b"nothing")
    with pytest.raises(TdcoError, match="no picture that can be read") as e:
        data.load(str(tmp_path))
    assert "bad.png" in e.value.where


def test_a_folder_with_its_own_split(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a", "0.png", 1)
    picture(tmp_path / "test" / "a", "0.png", 1)
    assert len(data.load(str(tmp_path)).test_labels) == 1
    picture(tmp_path / "train" / "b", "0.png", 1)
    with pytest.raises(TdcoError, match="class b is not both"):
        data.load(str(tmp_path))


def test_tracks_of_traffic_signs_stay_together(tmp_path: Path) -> None:
    count = 60
    y, track = np.repeat(np.arange(2), 30), np.tile(np.repeat(np.arange(10), 3), 2)
    np.savez(tmp_path / "gtsrb32.npz", x=np.zeros((count, 32, 32, 3), np.uint8), y=y, track=track)
    found = data.load(str(tmp_path))
    assert found.name == "GTSRB" and len(found.train_labels) == 48 and len(found.test_labels) == 12
    ppm = tmp_path / "Images"
    for label in range(2):
        for t in range(5):
            picture(ppm / f"{label:05}", f"{t:05}_00000.ppm", t)
            picture(ppm / f"{label:05}", f"{t:05}_00001.ppm", t)
    found = data.load(str(ppm))
    assert found.test_labels.tolist() == [0, 0, 1, 1] and len(found.train_labels) == 16
    assert len(np.unique(found.test_images[:2, 0, 0, 0])) == 1, "both pictures of the one track"


def test_drawers_of_characters_are_held_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images_background_small1.zip", "w") as archive:
        for character in (1, 2):
            for drawer in range(1, 21):
                png = io.BytesIO()
                Image.new("1", (105, 105), 1).save(png, "png")
                name = f"images_background_small1/Greek/character{character:02}/0{character}_{drawer:02}.png"
                archive.writestr(name, png.getvalue())
    found = data.load(str(tmp_path))
    assert found.classes == 2 and len(found.train_labels) == 30 and len(found.test_labels) == 10
    archive_file = tmp_path / "images_background_small1.zip"
    archive_file.write_bytes(archive_file.read_bytes()[:-40])
    with pytest.raises(TdcoError, match="no whole zip"):
        data.load(str(tmp_path))


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.FOLDER_VARIABLE, raising=False)
    with pytest.raises(TdcoError, match="TDCO_DATA does not say where"):
        data.load("mnist")
    with pytest.raises(TdcoError, match="holds no data that is known"):
        data.load(str(tmp_path))
    with pytest.raises(TdcoError, match="there is no data set"):
        data.load(str(tmp_path / "nothing"))
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "mnist").mkdir()
    write_idx(tmp_path / "mnist")
    with pytest.warns(TdcoWarning):
        assert len(data.load("mnist").test_labels) == 3
    picture(tmp_path / "mine" / "train" / "a", "0.png", 1)
    picture(tmp_path / "mine" / "test" / "a", "0.png", 1)
    assert data.load("mine").name == "mine", "a folder there, whatever its name"


def test_turned_images() -> None:
    images = np.full((1, 3, 32, 32), -1, np.float16)
    images[0, :, :16] = 1  # white above
    left = data._turned(images, 90)  # counter-clockwise: white on the left
    assert left.dtype == np.float16 and (left[0, :, 8:24, :12] == 1).all() and (left[0, :, 8:24, 20:] == -1).all()


def test_the_command(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a", "0.png", 1)
    picture(tmp_path / "test" / "a", "0.png", 1)
    result = CliRunner().invoke(main, ["data", str(tmp_path), "--json"])
    assert result.exit_code == 0 and '"classes": 1' in result.stdout
    assert CliRunner().invoke(main, ["data", str(tmp_path / "no"), "--json"]).exit_code == 1
