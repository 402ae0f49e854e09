"""The benchmark of a GPU, whose code runs on a CPU too: whoever has a card starts it without a rehearsal."""

import torch

from tests.benchmarks import gpu


def test_without_a_card_it_says_so_and_ends_with_status_2(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "needs a CUDA device" in capsys.readouterr().err


def test_every_way_that_a_cpu_has_trains_to_the_same_loss(capsys):
    assert gpu.main(["--device", "cpu", "--smallest"]) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if " ms |" in line]
    losses = {cells[0].strip(): float(cells[-1]) for cells in rows}
    assert len(losses) == 6
    dense = losses.pop("documents by a dense mask, all of these")
    assert max(losses.values()) - min(losses.values()) < 0.01
    assert dense > 0


def test_no_way_begins_after_the_time_is_over(capsys):
    assert gpu.main(["--device", "cpu", "--smallest", "--seconds", "0"]) == 0
    assert "not run: 0 s were over" in capsys.readouterr().out
