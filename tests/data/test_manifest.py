"""Tables of images: what is read, and every refusal with its rows."""

import os

import pytest

from pnas_tf.data.manifest import read_manifest
from pnas_tf.errors import UserError


@pytest.fixture
def root(tmp_path):
    for name in ("a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg", "c 1.jpg", "c2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def table(root, text, encoding="utf-8"):
    (root / "labels.csv").write_text(text, encoding=encoding)
    return read_manifest(root / "labels.csv")


def names(paths, root):
    return [os.path.relpath(path, root) for path in paths]


def test_paths_labels_and_splits(root):
    tree = table(
        root,
        "path,label,split\nb/0.jpg,dog,train\na/0.jpg,cat,Train\na/1.jpg,cat,test\n"
        f"{root}/b/1.jpg,dog,testing\nc 1.jpg,cat,valid\nc2.jpg,,test\n",
    )
    assert tree.class_names == ("cat", "dog")
    assert names(tree.train, root) == ["a/0.jpg", "b/0.jpg"]
    assert names(tree.test, root) == ["a/1.jpg", "b/1.jpg"]
    assert tree.test_labels.tolist() == [0, 1]
    assert [(file.path, file.kind) for file in tree.left_out] == [
        ("c 1.jpg", "rows of val, a part that is not used"),
        ("c2.jpg", "rows of test without a label"),
    ]
    assert "Tested on the rows of test." in tree.summary()


@pytest.mark.parametrize(
    "text, encoding",
    [
        ("\ufeffpath,label\na/0.jpg,cat\nb/0.jpg,dog\n", "utf-8"),
        ("Filename;Class\r\na/0.jpg;cat\r\nb/0.jpg;dog\r\n", "utf-8"),
        ("label\timage\tnote\ncat\ta/0.jpg\t\ndog\tb/0.jpg\tx\n", "utf-8"),
        ('"path","label"\n"a/0.jpg","cat"\n\n"b/0.jpg","dog"', "utf-8"),
        ("path,label\na\\0.jpg,cat\n./b/0.jpg,dog\n", "utf-8"),
    ],
)
def test_what_spreadsheets_write(root, text, encoding):
    tree = table(root, text, encoding)
    assert names(tree.train, root) == ["a/0.jpg", "b/0.jpg"] and tree.test == ()
    assert tree.class_names == ("cat", "dog")


def test_of_several_columns_the_first_spelling_counts_and_it_is_said(root):
    tree = table(root, "class,file,Path,label\n7,x,a/0.jpg,cat\n8,y,b/0.jpg,dog\n")
    assert tree.class_names == ("cat", "dog") and len(tree.train) == 2
    assert "The path is column 3 ('Path') of the table, not column 2 ('file')." in tree.summary()
    assert "The label is column 4 ('label') of the table, not column 1 ('class')." in tree.summary()


def test_a_file_by_two_ways_is_one(root):
    (root / "link").symlink_to("a")
    text = f"path,label\na/0.jpg,cat\nlink/0.jpg,cat\n{root}/a/0.jpg,cat\nb/0.jpg,dog\n"
    assert names(table(root, text).train, root) == ["a/0.jpg", "b/0.jpg"]


def test_the_folder_above_a_link_is_that_of_its_place(root):
    (root / "far" / "below").mkdir(parents=True)
    (root / "far" / "c2.jpg").touch()
    (root / "link").symlink_to("far/below")
    tree = table(root, "path,label\nlink/../c2.jpg,cat\na/../a/0.jpg,cat\nb/0.jpg,dog\n")
    there = [os.path.realpath(path) for path in tree.train]
    assert names(there, os.path.realpath(root)) == ["a/0.jpg", "far/c2.jpg", "b/0.jpg"]


def test_accents_of_another_system(root):
    (root / "cafe\u0301.jpg").touch()
    tree = table(root, "path,label\ncaf\u00e9.jpg,th\u00e9\na/0.jpg,cat\nb/0.jpg,the\u0301\n")
    assert tree.class_names == ("cat", "th\u00e9") and len(tree.train) == 3


@pytest.mark.parametrize(
    "text, what, received",
    [
        ("a/0.jpg,cat\nb/0.jpg,dog\n", "header", "a/0.jpg"),
        ("", "header", "nothing"),
        ("path,label\na/0.jpg,cat\nb/9.jpg,dog\n,x\n", "2 rows .* not there", "row 3: b/9.jpg"),
        ("path,label\na/0.jpg,cat\nb/0.jpg,\n", "have no label", "row 3: b/0.jpg"),
        ("path,label\na/0.jpg,cat\na/0.jpg,dog\n", "another label", "row 3: a/0.jpg"),
        ("path,label\na/0.jpg,cat\n./a/0.jpg,dog\n", "another label", "row 3: a/0.jpg"),
        ("path,label\na/0.jpg,cat\na/1.jpg,cat\n", "one class", "cat"),
        ("path,label,split\na/0.jpg,cat,new\n", "no split", "row 2"),
        (
            "path,label,split\na/0.jpg,cat,train\nb/0.jpg,dog,train\nb/1.jpg,cow,test\n",
            "no training row",
            "row 4",
        ),
        (
            "path,label,split\na/0.jpg,cat,train\nb/0.jpg,dog,train\nb/1.jpg,dog,test\n",
            "lack classes",
            "cat",
        ),
        (
            "path,label,split\na/0.jpg,cat,train\nb/0.jpg,dog,train\na/0.jpg,cat,test\n",
            "another label or part",
            "row 4",
        ),
        ("path,label\na/0.jpg,cat\n{root}/a/0.jpg,dog\n", "another label", "row 3"),
        ("path,label,split\na/0.jpg,cat,2\nb/0.jpg,dog,\n", "known: '', '2'", "row 2"),
        ("path,label,split\na/0.jpg,cat,test\nb/0.jpg,dog,test\n", "no classes to train", "[]"),
        ("PK\x03\x04", "table of images", "spreadsheet"),
        ('path,label\na/0.jpg,"cat\n', "table of images", "end"),
        ("path,label\na/0.jpg,c\u202eat\nb/0.jpg,dog\n", "class", "U+202E"),
    ],
)
def test_refusals_name_rows(root, text, what, received):
    with pytest.raises(UserError, match=what) as error:
        table(root, text.replace("{root}", str(root)))
    assert received in error.value.received and "labels.csv" in str(error.value)


def test_other_encodings_and_no_table(root):
    with pytest.raises(UserError, match="UTF-8"):
        table(root, "path,label\na/0.jpg,cat\nb/0.jpg,été\n", "latin-1")
    with pytest.raises(UserError, match="UTF-8"):
        table(root, "path,label\na/0.jpg,cat\nb/0.jpg,dog\n", "utf-16")
    with pytest.raises(UserError, match="no table of images"):
        read_manifest(root / "none.csv")
