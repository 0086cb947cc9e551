"""Resume states: whole, small, of the same stage, and gone when the stage is done."""

import torch

from fakemedia.learning.resume import ResumeFiles, best_path, remove_resume, resume_path

ME = {"code": "1", "device": "cpu"}


def state(step: int) -> dict:
    return {"step": step, "tensor": torch.full((2,), float(step))}


def test_round_trip_and_refusals(tmp_path, caplog):
    folder = tmp_path / "01_x"
    assert ResumeFiles(folder, ME).load() is None
    ResumeFiles(folder, ME).save(state(1), None)
    found = ResumeFiles(folder, ME).load()
    assert found is not None
    assert (found["step"], found["best_weights"]) == (1, None)
    assert torch.equal(found["tensor"], torch.ones(2))
    assert not caplog.records
    assert ResumeFiles(folder, {"code": "2", "device": "cpu"}).load() is None
    assert "is of other code: the stage starts again" in caplog.text
    assert ResumeFiles(folder, {"code": "2"}).load() is None
    assert "is of other code and other device" in caplog.text
    path = resume_path(folder)
    path.write_bytes(path.read_bytes()[:40])
    assert ResumeFiles(folder, ME).load() is None
    assert "damaged" in caplog.text


def test_best_weights_are_written_once_and_belong_to_the_state(tmp_path, monkeypatch):
    folder = tmp_path / "01_x"
    files = ResumeFiles(folder, ME)
    files.save(state(1), (1, {"w": torch.ones(3)}))
    written = best_path(folder, 1).stat().st_mtime_ns
    files.save(state(2), (1, {"w": torch.ones(3)}))
    assert best_path(folder, 1).stat().st_mtime_ns == written

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fakemedia.learning.resume.resume_path", killed)  # between the best weights and the state
        try:
            files.save(state(3), (3, {"w": torch.zeros(3)}))
        except KeyboardInterrupt:
            assert best_path(folder, 3).exists()
    resumed = ResumeFiles(folder, ME)
    found = resumed.load()
    assert found is not None
    assert (found["step"], found["best_weights"]["w"].tolist()) == (2, [1.0, 1.0, 1.0])
    resumed.save(state(3), (3, {"w": torch.full((3,), 5.0)}))
    found = ResumeFiles(folder, ME).load()
    assert found is not None
    assert found["best_weights"]["w"].tolist() == [5.0, 5.0, 5.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01_x.best3.pt", "01_x.resume.pt"]


def test_best_weights_that_are_gone_start_the_stage_over(tmp_path, caplog):
    ResumeFiles(tmp_path / "x", ME).save(state(1), (1, {"w": torch.ones(3)}))
    best_path(tmp_path / "x", 1).unlink()
    assert ResumeFiles(tmp_path / "x", ME).load() is None
    assert "starts again" in caplog.text


def test_removal_leaves_other_stages_alone(tmp_path):
    for name in ("01_x", "01_x_y", "[01_x]"):
        ResumeFiles(tmp_path / name, ME).save(state(1), (1, {"w": torch.ones(3)}))
        (tmp_path / f".{name}.resume.pt.partial").write_bytes(b"half")
    remove_resume(tmp_path / "01_x")
    remove_resume(tmp_path / "[01_x]")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".01_x_y.resume.pt.partial", "01_x_y.best1.pt", "01_x_y.resume.pt"]
