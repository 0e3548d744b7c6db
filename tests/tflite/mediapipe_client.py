"""A client of the exported models, run by the Python of an environment that has MediaPipe and
nothing of this project.

    python mediapipe_client.py MODELS IMAGES

classifies every IMAGES/*.png with every MODELS/*.tflite and prints one JSON document: {"models":
{file: {"categories": [...], "metadata": {...}}}, "schema": text of the public schema}. Exits 3,
saying why, when MediaPipe cannot be loaded.
"""

import json
import sys
from pathlib import Path


def classify(model: Path, images: list) -> list:
    """For each image its categories, best first: [name, score] pairs."""
    import mediapipe
    from mediapipe.tasks.python import vision

    with vision.ImageClassifier.create_from_model_path(str(model)) as classifier:
        results = [
            classifier.classify(mediapipe.Image.create_from_file(str(image))) for image in images
        ]
    return [
        [
            [category.category_name, category.score]
            for category in result.classifications[0].categories
        ]
        for result in results
    ]


def metadata(model: Path) -> dict:
    """The metadata as MediaPipe's own generated reader gives it."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
    from mediapipe.tasks.metadata import schema_py_generated as schema

    parsed = schema.Model.GetRootAsModel(model.read_bytes(), 0)
    entries = {
        parsed.Metadata(index).Name().decode(): parsed.Metadata(index).Buffer()
        for index in range(parsed.MetadataLength())
    }
    content = parsed.Buffers(entries["TFLITE_METADATA"]).DataAsNumpy().tobytes()
    assert metadata_schema.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    return plain(
        metadata_schema.ModelMetadataT.InitFromObj(
            metadata_schema.ModelMetadata.GetRootAs(content, 0)
        )
    )


def plain(value: object) -> object:
    """Objects of the generated reader as dicts, without what is absent."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str | int | float | None):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return {name: plain(entry) for name, entry in vars(value).items() if entry is not None}


def main() -> int:
    models, images = (Path(argument) for argument in sys.argv[1:3])
    try:
        import mediapipe
        from mediapipe.tasks.python.core import mediapipe_c_bindings

        mediapipe_c_bindings.load_raw_library()
    except (ImportError, OSError) as error:
        print(
            f"MediaPipe cannot be loaded ({error}); on Debian its native library needs: apt-get "
            "install libegl1 libgles2",
            file=sys.stderr,
        )
        return 3
    pictures = sorted(images.glob("*.png"))
    found = {
        model.name: {"categories": classify(model, pictures), "metadata": metadata(model)}
        for model in sorted(models.glob("*.tflite"))
    }
    text = (
        Path(mediapipe.__file__).parent / "tasks" / "metadata" / "metadata_schema.fbs"
    ).read_text(encoding="utf-8")
    print(json.dumps({"models": found, "schema": text}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
