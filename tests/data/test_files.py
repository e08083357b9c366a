import os
import stat

import pytest

from throughtime.data.files import write_atomically


@pytest.mark.parametrize("content", [b"a\r\n\xff", "σ\r\n", lambda file: file.write(b"written")])
def test_writes_what_it_is_given(tmp_path, content):
    path = tmp_path / "file"
    write_atomically(path, content)
    assert path.read_bytes() == {bytes: b"a\r\n\xff", str: "σ\r\n".encode()}.get(type(content), b"written")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file):
        file.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "file"
    (tmp_path / ".file.0123abcd.tmp").write_bytes(b"half")
    others = {".file.tmp", ".files.0123abcd.tmp", ".file.0123abcg.tmp", "file.0123abcd.tmp"}
    for name in others:
        (tmp_path / name).touch()
    write_atomically(path, b"whole")
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", *others}


def test_one_that_still_writes_is_left_alone(tmp_path):
    path = tmp_path / "file"

    def meanwhile(file):
        file.write(b"first")
        write_atomically(path, b"second")

    write_atomically(path, meanwhile)
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_missing_folder_is_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "absent" / "file", b"")


def test_follows_a_link_and_honours_the_umask(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    previous = os.umask(0o027)
    try:
        write_atomically(tmp_path / "link", b"content")
    finally:
        os.umask(previous)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
