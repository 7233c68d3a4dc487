import io
import lzma
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from embedder.dataset import Pictures, fitted, from_arrays, open_pictures
from embedder.dataset_split import Split, part_of, sampler, split
from embedder.errors import BadData, WrongArray

PEOPLE = {"Ada": 3, "Bo": 2, "Cy": 1}


def picture(seed, side=20):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def encoded(pixels, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, lossless=True)
    return file.getvalue()


def files():
    number = 0
    for name, count in PEOPLE.items():
        for i in range(count):
            yield name, f"{i}", picture(number)
            number += 1


def check(found):
    """The six pictures of three people, whatever they lay in."""
    wanted = list(files())
    assert [found.names[i] for i in found.labels] == [name for name, _, _ in wanted]
    np.testing.assert_array_equal(found.pixels, np.stack([pixels for _, _, pixels in wanted]))


def test_a_folder_per_class(tmp_path):
    for name, stem, pixels in files():
        path = tmp_path / "people" / name / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels))
    found = open_pictures(tmp_path / "people", side=20, cache=tmp_path / "cache")
    check(found)
    assert isinstance(found.pixels, np.memmap)
    assert found.given.tolist() == [-1] * 6


def test_the_cache_is_used_and_renewed(tmp_path):
    place = tmp_path / "a" / "x.png"
    place.parent.mkdir()
    place.write_bytes(encoded(picture(0)))
    calls = []
    first = open_pictures(place.parent, side=20, cache=tmp_path / "c", progress=calls.append)
    (folder,) = (tmp_path / "c").iterdir()
    stamp = (folder / "pixels.npy").stat().st_mtime_ns
    again = open_pictures(place.parent, side=20, cache=tmp_path / "c")
    assert (folder / "pixels.npy").stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(first.pixels, again.pixels)
    (place.parent / "y.png").write_bytes(encoded(picture(1)))
    assert len(open_pictures(place.parent, side=20, cache=tmp_path / "c")) == 2
    assert len(open_pictures(place.parent, side=8, cache=tmp_path / "c").pixels[0]) == 8
    assert sorted(p.name[:1] == "." for p in (tmp_path / "c").iterdir()) == [False] * 3


def test_a_flat_folder_is_unlabelled(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encoded(picture(i)))
    found = open_pictures(tmp_path, side=20, cache=tmp_path / "c")
    assert found.names == ()
    assert found.labels.tolist() == [-1, -1, -1]


def test_a_zip_of_webp(tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for name, stem, pixels in files():
            archive.writestr(f"{name}/{stem}.webp", encoded(pixels, "WEBP"))
        archive.writestr("README.txt", "not a picture")
    check(open_pictures(tmp_path / "faces.zip", side=20, cache=tmp_path / "c"))


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("kind", ["folders", "webdataset"])
def test_tar_shards(tmp_path, kind):
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, (name, stem, pixels) in enumerate(files()):
        with tarfile.open(shards / f"{number // 2:03}.tar", "a") as archive:
            if kind == "folders":
                add(archive, f"{name}/{stem}.png", encoded(pixels))
            else:
                add(archive, f"{number:04}.png", encoded(pixels))
                add(archive, f"{number:04}.cls", name.encode())
    check(open_pictures(shards, side=20, cache=tmp_path / "c"))


def mnist_like():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (9, 28, 28), np.uint8)
    return {"x_train": x[:6], "y_train": np.arange(6) % 3, "x_test": x[6:], "y_test": np.arange(3)}


def write_npz(folder, arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    (folder / "m.npz.xz").write_bytes(lzma.compress(file.getvalue()))
    return folder / "m.npz.xz"


def write_idx(folder, arrays):
    place = folder / "idx"
    place.mkdir()
    for key, name in (("train", "train"), ("test", "t10k")):
        x, y = arrays[f"x_{key}"], arrays[f"y_{key}"].astype(np.uint8)
        head = struct.pack(">HBBIII", 0, 8, 3, *x.shape)
        (place / f"{name}-images-idx3-ubyte").write_bytes(head + x.tobytes())
        (place / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">HBBI", 0, 8, 1, len(y)) + y.tobytes()
        )
    return place


@pytest.mark.parametrize("write", [write_npz, write_idx])
def test_mnist_files(tmp_path, write):
    arrays = mnist_like()
    found = open_pictures(write(tmp_path, arrays), side=28, channels=1, cache=tmp_path / "c")
    wanted = np.concatenate([arrays["x_train"], arrays["x_test"]])
    np.testing.assert_array_equal(found.pixels[..., 0], wanted)
    assert found.given.tolist() == [0] * 6 + [2] * 3
    assert found.names == ("0", "1", "2")


def test_omniglot_bits(tmp_path):
    ink = np.zeros((3, 105, 105), np.uint8)
    ink[0, 2, 3] = ink[1, 104, 104] = ink[2, 0, 0] = 1
    np.savez(tmp_path / "o.npz", ink=np.packbits(ink, axis=-1), alphabet=np.array([1, 1, 2]),
             character=np.array([4, 5, 1]),
             part=np.array(["background"] * 2 + ["evaluation"]))  # fmt: skip
    found = open_pictures(tmp_path / "o.npz", side=105, channels=1, cache=tmp_path / "c")
    np.testing.assert_array_equal(found.pixels[..., 0], ink * 255)
    assert found.names == ("1/0004", "1/0005", "2/0001")
    assert found.given.tolist() == [-1, -1, 2]


def test_other_sizes_keep_their_shape():
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, :20] = 200
    out = fitted(wide, 20, 3)
    assert out.shape == (20, 20, 3)
    assert (out[:, :9] == 200).all()  # the border goes on above and below
    assert (out[:, 11:] == 0).all()
    assert fitted(wide, 20, 1).shape == (20, 20, 1)
    assert fitted(wide[..., :1], 40, 3).shape == (40, 40, 3)


def test_a_folder_of_zips_with_unlabelled_pictures_among_them(tmp_path):
    for archive, names in (("a", ("Ann/1", "Ben/1")), ("b", ("unlabelled/1", "Ann/2"))):
        with zipfile.ZipFile(tmp_path / f"{archive}.zip", "w") as file:
            for name in names:
                file.writestr(f"{name}.webp", encoded(picture(0), "WEBP"))
    found = open_pictures(tmp_path, side=20, cache=tmp_path / "c")
    assert found.names == ("Ann", "Ben")
    assert found.labels.tolist() == [0, 1, 0, -1]


@pytest.mark.parametrize("name", ["missing", "x.txt", "broken.zip", "broken.npz", "broken.tar"])
def test_what_cannot_be_read_says_so(tmp_path, name):
    if name != "missing":
        (tmp_path / name).write_bytes(b"nothing of use")
    with pytest.raises(BadData, match=name):
        open_pictures(tmp_path / name, side=20, cache=tmp_path / "c")


def test_a_broken_picture_is_named_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bad.jpg").write_bytes(b"no")
    with pytest.raises(BadData, match=r"bad\.jpg"):
        open_pictures(tmp_path / "a", side=20, cache=tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []
    (tmp_path / "a" / "bad.jpg").unlink()
    with pytest.raises(BadData, match="no picture"):
        open_pictures(tmp_path / "a", side=20, cache=tmp_path / "c")


def test_arrays_are_checked():
    with pytest.raises(WrongArray):
        Pictures(np.zeros((2, 4, 5, 3), np.uint8), np.zeros(2, np.int64), (), np.zeros(2, np.int8))


def crowd(people=200, each=5):
    labels = np.repeat(np.arange(people), each)
    return from_arrays(np.zeros((len(labels), 4, 4), np.uint8), labels)


def test_the_split_is_by_person_and_follows_the_name():
    pictures = crowd()
    parts = split(pictures, validation=0.2, test=0.1, seed=4)
    sets = [set(pictures.labels[p]) for p in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, sets)) == 200
    assert len(set.union(*sets)) == 200
    assert 20 <= len(sets[1]) <= 60
    assert 5 <= len(sets[2]) <= 40
    assert part_of("Ada", (0.2, 0.1), 4) == part_of("Ada", (0.2, 0.1), 4)
    other = split(pictures, validation=0.2, test=0.1, seed=5)
    assert not np.array_equal(parts.train, other.train)
    fewer = split(crowd(100), validation=0.2, test=0.1, seed=4)  # the others stay where they were
    np.testing.assert_array_equal(fewer.train, parts.train[parts.train < 500])


def test_official_parts_stay():
    given = np.array([0] * 90 + [2] * 10)
    pictures = from_arrays(np.zeros((100, 4, 4), np.uint8), np.arange(100) % 5, given)
    parts = split(pictures, validation=0.3, by="photo")
    assert isinstance(parts, Split)
    assert parts.test.tolist() == list(range(90, 100))
    assert 10 <= len(parts.validation) <= 45
    assert len(parts.train) + len(parts.validation) == 90


def test_nothing_left_to_train_on():
    with pytest.raises(BadData, match="smaller shares"):
        split(crowd(3), validation=0.5, test=0.5)


def test_batches_hold_m_of_each_class():
    pictures = crowd(30, 6)
    draws = sampler(pictures, np.arange(120), per_class=4, batch=40, seed=1)
    batch = draws.draw(7)
    assert len(set(batch)) == 40
    labels, counts = np.unique(pictures.labels[batch], return_counts=True)
    assert counts.tolist() == [4] * 10
    assert labels.max() < 20
    np.testing.assert_array_equal(batch, draws.draw(7))
    assert not np.array_equal(batch, draws.draw(8))


def test_unlabelled_pictures_keep_their_share():
    labels = np.concatenate([np.repeat(np.arange(10), 10), np.full(100, -1)])
    pictures = Pictures(np.zeros((200, 2, 2, 1), np.uint8), labels.astype(np.int64),
                        tuple("abcdefghij"), np.full(200, -1, np.int8))  # fmt: skip
    batch = sampler(pictures, np.arange(200), per_class=2, batch=40, seed=0).draw(0)
    assert (pictures.labels[batch] < 0).sum() == 20
    alone = sampler(pictures, np.arange(200), per_class=2, batch=40, seed=0, labels=False).draw(0)
    assert len(set(alone)) == 40


def test_a_class_of_one_cannot_be_trained_on():
    with pytest.raises(BadData, match="two pictures"):
        sampler(crowd(5, 1), np.arange(5), per_class=2, batch=4, seed=0)
