"""The page of benchmarks.phones says of its data what the folder and its caller say."""

import json

from benchmarks.phones.data import read
from benchmarks.phones.report import BARS, Flag, Row, page


def layer(kind, in_size, out_size, in_channels, out_channels, kernel=1, stride=1):
    """A row of networks.json."""
    return {
        "kind": kind,
        "in_size": in_size,
        "out_size": out_size,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "kernel": kernel,
        "stride": stride,
    }


def chain(*, side, kernel, expansion):
    """A stem, one MBConv and a head."""
    half, wide = side // 2, 8 * expansion
    return [
        layer("conv", side, half, 3, 8, 3, 2),
        layer("conv", half, half, 8, wide),
        layer("dw", half, half, wide, wide, kernel),
        layer("conv", half, half, wide, 16),
        layer("conv", half, half, 16, 32),
        layer("pool", half, 1, 32, 32),
        layer("conv", 1, 1, 32, 10),
    ]


def test_a_page_of_other_phones_claims_nothing_of_the_published_ones(tmp_path):
    networks = [chain(side=96, kernel=kernel, expansion=4) for kernel in (3, 9)]
    document = [{"network": f"n{each}", "layers": rows} for each, rows in enumerate(networks)]
    (tmp_path / "networks.json").write_text(json.dumps({"networks": document}))
    (tmp_path / "latency_ms.csv").write_text("phone,n0,n1\nown_0,1.0,2.0\nown_1,1.5,\n")
    data = read(tmp_path)
    rows = [Row(way, count, *[1.0] * 6) for way, count, *_ in BARS]
    text = page(data, rows, Flag(0, 0, 0, 2))
    words = "2 phones of 1 models, 2 networks: chains of MBConv blocks with kernels 3 and 9 and"
    assert f"{words} expansions 4, at 96 px. Phones" in text
    for claim in ("iitm", "2020", "Apache", "224", "int8", "1 thread"):
        assert claim not in text
    assert "at 96 px (mine, of today). Phones" in page(
        data, rows, Flag(0, 0, 0, 2), source="mine, of today"
    )
