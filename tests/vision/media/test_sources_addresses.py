"""Addresses, without their secrets."""

from pathlib import Path

import pytest

from anomalist.errors import MediaError
from anomalist.vision.media.sources import SCHEMES, is_url, redact_url, scheme_of


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
        ("http://admin:hunter2@[bad/a", "http://…@[bad"),
        ("rtsp://admin:hun#ter2@camera:554/1", "rtsp://…@camera:554"),
        ("http://admin:hun?ter2@camera/1", "http://…@camera"),
        ("http://host/a@2x.mp4", "http://host/a@2x.mp4"),
        ("http://[fe80::1]/a@2x.mp4", "http://[fe80::1]/a@2x.mp4"),
        ("file:///a/b@2x.png", "file:///a/b@2x.png"),
        ("/a/b: c@2x.png", "/a/b: c@2x.png"),
        ("C:\\films\\a.mp4", "C:\\films\\a.mp4"),
        ("my gate=rtsp://admin:hunter2@camera/1", "my gate=rtsp://admin@camera/1"),
    ],
)
def test_passwords_are_left_out(address: str, expected: str) -> None:
    assert redact_url(address) == expected


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize(
    "rest",
    [
        "me:hunter/2222@camera/1",
        "me:2222/hunter@camera:554/1",
        "me:2222#hunter@camera/1",
        "me:2222?hunter@camera/1",
        "me:hunter:2222/3@camera/1",
        "me:hunter@x/2222@camera/1",
        "me:hunter@x:2222#3@camera/1",
        "me:hunter2222",
        "me:[hunter2222@camera",
    ],
)
def test_a_password_with_special_characters_is_refused_and_never_told(scheme: str, rest: str) -> None:
    address = f"{scheme}://{rest}"
    with pytest.raises(MediaError, match="percent-encoded") as caught:
        scheme_of(address)
    for text in (str(caught.value), redact_url(address)):
        assert "hunter" not in text and "2222" not in text


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
