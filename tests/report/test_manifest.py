"""Published models: nothing is written that the manifest does not name."""

import pytest
from test_compare import finished

from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.report.manifest import publish, read_manifest
from pnas_tf.run.folder import RunFolder


def test_a_refused_publication_leaves_the_models_as_they_were(tmp_path):
    """The second file is not measured: the first must not be there beside the old manifest."""
    one, two = (finished(tmp_path / name, ms=1.0) for name in ("one", "two"))
    (two / "model_int8.tflite").write_text("exported anew")
    with RunFolder(one) as folder:
        publish(folder, tmp_path / "models", name="digits")
    before = {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()}
    with (
        RunFolder(two) as folder,
        pytest.raises(UserError, match="pnas benchmark"),
    ):
        publish(folder, tmp_path / "models", name="digits")
    assert {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()} == before
    for name, entry in read_manifest(tmp_path / "models").items():
        assert atomic.sha256_of(tmp_path / "models" / name) == entry["sha256"]
