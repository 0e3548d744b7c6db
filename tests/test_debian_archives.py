"""Debian's package of fashion_mnist gives the published archives, to the bit."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from benchmarks.evidence import debian_archives
from pnas_tf.data.offline import place_archives

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def test_stripped_gzip_header_is_restored_bit_for_bit(tmp_path, monkeypatch):
    """gzip with name and time, as published; its stripped form gives the published bytes back,
    another content does not."""
    path = tmp_path / "a-ubyte.gz"
    with gzip.GzipFile(
        path.with_suffix(""), "wb", fileobj=path.open("wb"), mtime=1504176606
    ) as stream:
        stream.write(b"pixels" * 1000)
    published = bytearray(path.read_bytes())
    published[8:10] = b"\x00\x03"  # as the gzip program writes them
    sha256 = hashlib.sha256(published).hexdigest()
    monkeypatch.setitem(debian_archives.GZIP_TIMES_S, sha256, 1504176606)
    header = len(b"a-ubyte\0") + 10
    stripped = (
        b"\x1f\x8b\x08\x00" + struct.pack("<I", 1591347949) + b"\x00\x03" + published[header:]
    )
    path.write_bytes(stripped)
    place = debian_archives.published_archives(tmp_path, tmp_path / "published")
    assert (place / path.name).read_bytes() == bytes(published)
    assert debian_archives.published_archives(place) == place
    path.write_bytes(stripped[:-1] + b"\x01")
    assert debian_archives.restored_header(path) is None


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_debians_package_gives_the_published_archives(tmp_path):
    builder = tfds.builder("fashion_mnist", data_dir=str(tmp_path), try_gcs=False)
    archives = debian_archives.published_archives(DEBIAN, tmp_path / "archives")
    place_archives(builder, archives, download_dir=tmp_path / "downloads")
    placed = {
        path
        for path in (tmp_path / "downloads" / "fashion_mnist").iterdir()
        if not path.name.endswith(".INFO")
    }
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in placed}
    assert digests == {info.checksum for info in builder.url_infos.values()}
    assert all(os.path.isfile(f"{path}.INFO") for path in placed)
