"""Addresses, without their secrets."""

from pathlib import Path

import pytest

from anomalist.errors import MediaError
from anomalist.vision.media.sources import is_url, redact_url, scheme_of


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("rtsp://camera/1", True),
        ("HTTP://host/a.mp4", True),
        ("gopher://host", True),
        ("a.mp4", False),
        ("/a/b.mp4", False),
        ("C:\\films\\a.mp4", False),
        ("odd:name.mp4", False),
        (Path("http://host/a.mp4"), False),
    ],
)
def test_an_address_is_told_from_a_path(source: str | Path, expected: bool) -> None:
    assert is_url(source) is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("rtsp://camera:554/1", "rtsp://camera:554/1"),
        ("rtsp://admin:hunter2@camera:554/1", "rtsp://admin@camera:554/1"),
        ("rtsp://admin:p@ss:w@camera/1", "rtsp://admin@camera/1"),
        ("http://h/a?user=me&password=hunter2&x=1", "http://h/a?user=me&password=…&x=1"),
        ("http://h/a?pwd=hunter2", "http://h/a?pwd=…"),
        ("http://h/a?access_token=hunter2#t", "http://h/a?access_token=…#t"),
        ("http://admin:hunter2@[bad/a", "http://[bad/a"),
        ("rtsp://admin:hun#ter2@camera:554/1", "rtsp://camera:554/1"),
        ("rtsp://recorder:554/main@1", "rtsp://recorder:554/main@1"),
        ("http://admin:hun?ter2@camera/1", "http://camera/1"),
        ("http://host:8080/a@2x.mp4", "http://host:8080/a@2x.mp4"),
        ("file:///a/b@2x.png", "file:///a/b@2x.png"),
    ],
)
def test_passwords_are_left_out(address: str, expected: str) -> None:
    assert redact_url(address) == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("gopher://host/a", '"gopher" addresses are not read'),
        ("file:///etc/passwd", '"file" addresses are not read'),
        ("concat://a|b", '"concat" addresses are not read'),
        ("http://", "not a complete address"),
        ("rtsp://admin:hunter2@:554/", "not a complete address"),
        ("rtsp://host:port/", "not a complete address"),
        ("rtsp://admin:#hunter2@host/", "not a complete address"),
        ("http://admin:hunter2@[bad/a", "not a complete address"),
    ],
)
def test_what_is_no_address_of_a_stream_is_refused(address: str, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        scheme_of(address)
    assert "hunter2" not in str(caught.value)
    assert caught.value.remedy.endswith(".")
