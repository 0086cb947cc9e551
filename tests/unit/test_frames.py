"""Frames of videos."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from fakemedia.sources.excerpts import excerpt, origin
from fakemedia.sources.frames import frames_at
from fakemedia.store.decode import read_picture
from tests.videos import shades, write_video

pytest.importorskip("av")
SHARES = [0.125, 0.375, 0.625, 0.875]


def frames(path: Path) -> list:
    with path.open("rb") as file:
        return list(frames_at(file, SHARES))


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "mpeg4"), ("clip.mkv", "mpeg4"), ("clip.webm", "libvpx"),
                                             ("clip.avi", "mpeg4"), ("clip.mpg", "mpeg2video"),
                                             ("clip.ts", "mpeg2video"), ("clip.flv", "flv")])
def test_frames_are_at_even_distances_in_every_format(tmp_path: Path, name: str, codec: str) -> None:
    rate = 25 if "mpeg2" in codec else 10
    found = frames(write_video(tmp_path / name, shades(20), codec=codec, rate=rate))
    shown = [np.asarray(frame.image).mean() / 12 for frame in found]
    assert shown == pytest.approx([2.5, 7.5, 12.5, 17.5], abs=1.2)
    assert [frame.seconds * rate for frame in found] == pytest.approx(shown, abs=1.2)
    assert found[0].mode == "yuv420p"


def test_frames_are_turned_upright(tmp_path: Path) -> None:
    half = np.zeros((32, 48, 3), np.uint8)
    half[:16] = 255
    for rotation, (row, column) in {0: (0, 24), 90: (24, 0), -90: (24, -1), 180: (-1, 24)}.items():
        frame = np.asarray(frames(write_video(tmp_path / f"{rotation}.mp4", [half] * 4, rotation=rotation))[0].image)
        assert frame.shape[:2] == ((32, 48) if rotation in (0, 180) else (48, 32))
        assert frame[row, column].min() > 200
        assert frame[~row, ~column].max() < 50


def test_what_cannot_be_decoded_is_an_error(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4", shades(20)).read_bytes()
    secret = tmp_path / "secret.ts"
    write_video(secret, shades(20), codec="mpeg2video", rate=25)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n".encode()
    listed = f"ffconcat version 1.0\nfile {secret}".encode()
    for data in (b"", b"no video", whole[:200], whole[:len(whole) // 2], playlist, listed):
        with pytest.raises(OSError, match="the video cannot be decoded"):
            list(frames_at(io.BytesIO(data), SHARES))


def test_a_frame_keeps_what_the_audit_compares_of_its_video(tmp_path: Path) -> None:
    frame = frames(write_video(tmp_path / "clip.mp4", shades(8)))[0]
    data = excerpt(frame.image, codec=frame.codec, mode=frame.mode)
    picture = read_picture(data)
    assert (picture.codec, picture.mode, picture.quality) == ("mpeg4", "yuv420p", 0)
    assert (picture.pixels == np.asarray(frame.image)).all()
    assert origin({"fakemedia": "jpeg RGB 90"}) == ("jpeg", "RGB", 90)
    assert [origin({"fakemedia": text}) for text in ("", "x", "a b c", "a b -1")] == [None] * 4
