"""Class labels of folders: by order, by number, by a file; and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from shufflenet_deploy.accuracy.labels import classes_of, read
from shufflenet_deploy.errors import UsageError

PETS = ("cat", "dog", "ant")


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_as_many_folders_as_classes_count_in_sorted_order() -> None:
    assert classes_of(PETS, 3, None) == {"ant": 0, "cat": 1, "dog": 2}


@pytest.mark.parametrize(("classes", "told"), [(4, "3 class folders .*fewer"), (2, "more than")])
def test_another_number_of_folders_needs_labels(classes: int, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        classes_of(PETS, classes, None)


def test_fewer_folders_may_be_sorted_on_purpose() -> None:
    assert classes_of(PETS, 1000, "sorted") == {"ant": 0, "cat": 1, "dog": 2}


def test_numbers_in_the_wrong_order_are_not_guessed() -> None:
    names = [str(number) for number in range(11)]
    with pytest.raises(UsageError, match=r"alphabetical order \(0, 1, 10, 2, …\) is not their own"):
        classes_of(names, 11, None)
    assert classes_of(names, 11, "numbers")["10"] == 10
    assert classes_of(names, 11, "sorted")["10"] == 2
    assert classes_of(["00", "01", "10"], 3, None)["10"] == 2


def test_numbers_must_be_numbers_of_classes() -> None:
    with pytest.raises(UsageError, match="these are none: dog"):
        classes_of(["1", "dog"], 10, "numbers")
    with pytest.raises(UsageError, match=r"'10' would be class 10, but the model has only 10"):
        classes_of(["1", "10"], 10, "numbers")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "ant\ncat\n\ndog\n"),
        ("synsets.txt", "ant, pismire\ncat true cat\ndog domestic dog\n"),
        ("map.txt", "dog 2\ncat 1\nant 0\n"),
        ("names.json", '["ant", "cat", "dog"]'),
        ("map.json", '{"dog": 2, "ant": 0, "cat": 1}'),
        ("index.json", '{"0": ["n1", "ant"], "1": ["n2", "cat"], "2": ["n3", "dog"]}'),
        ("index.json", '{"0": "ant", "1": "cat", "2": "dog"}'),
    ],
)
def test_every_form_of_a_file(tmp_path: Path, name: str, text: str) -> None:
    labels = written(tmp_path, name, text)
    assert classes_of(PETS, 3, labels) == {"ant": 0, "cat": 1, "dog": 2}
    assert classes_of(["dog"], 3, labels) == {"dog": 2}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("l.txt", "", "holds no labels"),
        ("l.txt", "ant\ncat\nant\n", "'ant' is there twice"),
        ("l.json", "{", "is no file of labels"),
        ("l.json", "3", "neither a list nor an object"),
        ("l.json", '{"one": ["ant"]}', "'one' is not the number of a class"),
        ("l.json", '{"ant": -1}', "is no file of labels"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read(Path(written(tmp_path, name, text)))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"cannot read the labels missing\.txt"):
        read(Path("missing.txt"))


def test_a_folder_that_the_file_does_not_know(tmp_path: Path) -> None:
    labels = written(tmp_path, "l.txt", "ant\ncat\n")
    with pytest.raises(UsageError, match=r"1 of 3 names are not in .*: dog"):
        classes_of(PETS, 3, labels)
