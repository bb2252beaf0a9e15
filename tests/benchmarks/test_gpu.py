from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu


def test_everything_that_is_asked_for_is_measured(tmp_path, monkeypatch, capsys):
    """On a CPU, where nothing is short of memory and both answers are the same."""
    out = tmp_path / "gpu.csv"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--device", "cpu", "--out", str(out)])
    gpu.main()
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["what"] for row in rows] == ["train"] * 3 + ["detect", "diffusion", "halving", "bf16"]
    assert all(float(row["images_per_second"]) > 0 for row in rows[:5])
    assert rows[5]["batch_left"] == rows[5]["batch"] == "8"
    assert float(rows[6]["difference"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_what_is_left_of_a_batch_is_what_fits(monkeypatch):
    model = gpu.network(gpu.TINY[0], tiny=True).eval()
    whole = model.reconstruct

    def short(batch):
        if len(batch) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(batch)

    model.reconstruct = short
    monkeypatch.setattr(gpu, "network", lambda *_, **__: model)
    assert gpu.halving(gpu.TINY[0], torch.device("cpu"), 1, tiny=True) == 2


def test_a_different_answer_is_told(monkeypatch):
    """Of a network whose second answer is off by a tenth of its range."""
    asked, made = gpu.TINY[0], []

    class Off(torch.nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def reconstruct(self, x):
            return x + self.by

    def network(*_, **__):
        made.append(1)
        return Off(0.1 if len(made) == 2 else 0.0)

    monkeypatch.setattr(gpu, "network", network)
    assert gpu.agreement(asked, torch.device("cpu"), tiny=True) == pytest.approx(0.1, rel=0.05)
