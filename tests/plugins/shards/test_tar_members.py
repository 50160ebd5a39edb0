"""Members of tar files: as `tarfile` finds them, and damage that it would take for the end."""

from __future__ import annotations

import io
import tarfile

import pytest

from sslkit.errors import DataError
from sslkit_shards.tar_members import BLOCK, members
from tests.plugins.shards.tars import write_tar

STYLES = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = ["a.jpg", "folder/b.left.jpg", "x" * 98 + ".j", "deep/" + "y" * 60 + "/" + "z" * 60 + ".png"]
LONG = [*NAMES, "n" * 300 + ".jpg", "Übergröße/日本.png"]


def read(content, where="t.tar"):
    """Every member of the bytes of a tar file."""
    return list(members(lambda at, size: content[at : at + size], len(content), where))


def by_tarfile(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [(info.name, info.offset_data, info.size) for info in tar if info.isreg()]


def made(names, style, tmp_path):
    path = tmp_path / "t.tar"
    write_tar(path, [(name, bytes([i]) * (i * 300)) for i, name in enumerate(names)], style)
    return path.read_bytes()


@pytest.mark.parametrize("style", STYLES)
def test_places_are_those_that_tarfile_finds(style, tmp_path):
    content = made(NAMES if style == "ustar" else LONG, STYLES[style], tmp_path)
    expected = by_tarfile(content)
    assert [(m.name, m.offset, m.size) for m in read(content)] == expected
    assert len(expected) >= 4


def test_folders_are_passed_over_and_links_are_told(tmp_path):
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as tar:
        folder, hard, soft = tarfile.TarInfo("d"), tarfile.TarInfo("h.jpg"), tarfile.TarInfo("s.jpg")
        folder.type, hard.type, soft.type = tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE
        hard.linkname = soft.linkname = "a.jpg"
        for info in (folder, hard, soft):
            tar.addfile(info)
        last = tarfile.TarInfo("a.jpg")
        last.size = 3
        tar.addfile(last, io.BytesIO(b"abc"))
    assert [(m.name, m.size, m.is_link) for m in read(path.read_bytes())] == [
        ("h.jpg", 0, True),
        ("s.jpg", 0, True),
        ("a.jpg", 3, False),
    ]


def test_pax_headers_hold_for_one_member_or_for_all_that_follow(tmp_path):
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "of all"}) as tar:
        for name in ("é" * 80 + ".jpg", "b.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 5
            info.pax_headers = {"note": "of one"}
            tar.addfile(info, io.BytesIO(b"12345"))
    assert [m.name for m in read(path.read_bytes())] == ["é" * 80 + ".jpg", "b.jpg"]


def test_a_size_in_binary_is_read():
    info = tarfile.TarInfo("large.jpg")
    info.size = 8**11 + 7
    header = info.tobuf(tarfile.GNU_FORMAT)
    assert header[124] == 0x80
    total = len(header) + (-(-info.size // BLOCK)) * BLOCK + 2 * BLOCK
    parts = {0: header}
    found = list(members(lambda at, size: parts.get(at, bytes(size)), total, "t.tar"))
    assert [(m.name, m.size) for m in found] == [("large.jpg", info.size)]


def test_a_damaged_header_is_an_error_where_tarfile_sees_the_end(tmp_path):
    content = bytearray(made(NAMES, tarfile.USTAR_FORMAT, tmp_path))
    third = by_tarfile(bytes(content))[2][1] - BLOCK
    content[third + 3] ^= 1
    assert len(by_tarfile(bytes(content))) == 2, "the samples behind it would be gone unseen"
    with pytest.raises(DataError, match=rf"t\.tar: byte {third:,}: is no header of a tar file; .*again"):
        read(bytes(content))


@pytest.mark.parametrize("left", [0, 100, 2 * BLOCK, 2 * BLOCK + 5])
def test_a_file_that_was_cut_off_is_an_error(left, tmp_path):
    content = made(NAMES, tarfile.USTAR_FORMAT, tmp_path)
    end = by_tarfile(content)[-1][1]  # whose content takes two blocks
    with pytest.raises(DataError, match=r"(goes on to byte|without the mark of an archive's end).*cut off"):
        read(content[: end + left])


def test_what_is_no_tar_file_is_an_error():
    with pytest.raises(DataError, match="ends at byte 4 without the mark"):
        read(b"\x1f\x8b\x08\x00")
    with pytest.raises(DataError, match="byte 0: is no header"):
        read(b"\x1f\x8b" * BLOCK)
    assert read(bytes(2 * BLOCK)) == []


@pytest.mark.parametrize("record", [b"99 path=x\n", b"path=x\n", b"0 p=\n", b"12 size=ab\n\n\n"])
def test_a_damaged_pax_header_is_an_error(record):
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = b"x", len(record)
    content = info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(BLOCK, b"\0") + bytes(2 * BLOCK)
    with pytest.raises(DataError, match="a pax header is damaged"):
        read(content)


def test_an_extended_header_of_a_gigabyte_is_not_read():
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = b"L", 1 << 30
    header = info.tobuf(tarfile.GNU_FORMAT)
    parts = {0: header}
    with pytest.raises(DataError, match="an extended header of 1,073,741,824 bytes"):
        list(members(lambda at, size: parts.get(at, bytes(size)), 1 << 31, "t.tar"))


def test_sparse_members_are_refused_by_name():
    info = tarfile.TarInfo("a.jpg")
    info.type = b"S"
    with pytest.raises(DataError, match=r"the kind b'S'; write it by `tar --format=pax` without `--sparse`"):
        read(info.tobuf(tarfile.GNU_FORMAT) + bytes(2 * BLOCK))
    record = b"22 GNU.sparse.major=1\n"
    pax = tarfile.TarInfo("././@PaxHeader")
    pax.type, pax.size = b"x", len(record)
    with pytest.raises(DataError, match="has a sparse member"):
        read(pax.tobuf(tarfile.USTAR_FORMAT) + record.ljust(BLOCK, b"\0") + bytes(2 * BLOCK))
