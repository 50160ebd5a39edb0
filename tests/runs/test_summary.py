from __future__ import annotations

import pytest

from sslkit.runs.summary import SUMMARY, read_summary


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "null"])
def test_a_summary_that_is_missing_or_damaged_holds_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / SUMMARY).write_text(content)
    assert read_summary(tmp_path) == {}
    (tmp_path / SUMMARY).write_text('{"finished": true}')
    assert read_summary(tmp_path) == {"finished": True}
