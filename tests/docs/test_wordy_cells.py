"""Cells of tables that hold a sentence are marked, and no others."""

from __future__ import annotations

from tests.docs.pages import hooks

ROW = "<tr><td>short</td><td>{}</td></tr>"


def test_only_cells_of_many_characters_are_marked() -> None:
    cells = hooks("wordy_cells")
    long = "x" * (cells.WORDY + 1)
    assert cells.on_page_content(ROW.format(long)) == ROW.format(long).replace(
        f"<td>{long}", f'<td class="words">{long}'
    )
    assert cells.on_page_content(ROW.format(long[1:])) == ROW.format(long[1:])


def test_tags_and_entities_are_no_characters_and_other_attributes_stay() -> None:
    cells = hooks("wordy_cells")
    link = '<a href="a-very-long-address-of-a-page-that-nobody-reads">two</a> &lt;&gt;'
    assert cells.on_page_content(ROW.format(link)) == ROW.format(link)
    number = '<td style="text-align: right;">' + "1" * 50 + "</td>"
    assert cells.on_page_content(number) == number
