"""docs/json.md is what the code says, and knows what is in a document and what is not."""

from __future__ import annotations

import json_page


def test_the_page_is_written_from_the_code():
    assert json_page.PAGE.read_text() == json_page.page(), "run: python docs/json_page.py"


def test_a_field_that_the_page_does_not_tell_is_found():
    written = {"schema_version": 1, "host": "pi", "fit": True, "checks": [{"name": "load"}]}
    assert json_page.undocumented("doctor", written) == []
    written["checks"] = [{"name": "load", "new": 1}]
    assert json_page.undocumented("doctor", {**written, "newer": 1}) == ["checks[].new", "newer"]


def test_every_link_of_the_page_has_its_section():
    text = json_page.page()
    titles = {line[4:].lower() for line in text.splitlines() if line.startswith("### ")}
    links = {part.partition(")")[0] for part in text.split("](#")[1:]}
    assert links <= titles


def test_every_field_has_a_type_and_a_meaning():
    rows = [line.split("|")[1:4] for line in json_page.page().splitlines() if line.startswith("| ")]
    assert len(rows) > 400
    assert [row for row in rows if not all(cell.strip() for cell in row)] == []
