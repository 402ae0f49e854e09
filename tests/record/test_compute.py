"""The key says what computes, and a look-up says it without torch."""

import json
import subprocess
import sys

import pytest
import torch

from tasks.config import (
    ClassifyConfig,
    DownloadConfig,
    DpoConfig,
    FinetuneConfig,
    GenerateConfig,
    JudgeConfig,
    PreflightConfig,
    PretrainConfig,
    RowsConfig,
)
from tasks.errors import StageError
from tasks.machine.device import multiplies_in_bfloat16, pick_device
from tasks.record import compute


@pytest.fixture
def machine(monkeypatch):
    """A machine with a GPU of a capability, or none, and a CPU with units."""

    def make(capability=None, units=()):
        monkeypatch.setattr(compute, "_cuda_capability", lambda: capability)
        monkeypatch.setattr(compute, "_units", lambda: frozenset(units))

    return make


def test_this_machine_is_what_torch_says_it_is():
    kind = compute.device_kind("auto")
    assert kind == pick_device("auto").type
    there = multiplies_in_bfloat16(torch.device(kind))
    assert compute.products(kind) == ("bfloat16" if there else "float32")
    compute.verify(compute.resolved(PretrainConfig()), PretrainConfig())


def test_a_look_up_asks_no_torch():
    script = (
        "import sys; from tasks.record.compute import environment, resolved\n"
        "from tasks.config import PretrainConfig\n"
        "config = PretrainConfig()\n"
        "print(resolved(config), environment(config, {})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("capability", "units", "wanted", "expected"),
    [
        (None, ["avx2"], "auto", {"device": "cpu", "products": "float32"}),
        (None, ["avx2", "avx512_bf16"], "auto", {"device": "cpu", "products": "bfloat16"}),
        (9, ["avx2"], "auto", {"device": "cuda", "products": "bfloat16"}),
        (7, ["avx512_bf16"], "auto", {"device": "cuda", "products": "float32"}),
        (9, ["avx2"], "cpu", {"device": "cpu", "products": "float32"}),
        (None, ["avx2"], "cuda", {"device": "cuda", "products": "float32"}),
    ],
)
def test_pitfall_31_device_and_what_auto_comes_to_enter_the_key(machine, capability, units, wanted, expected):
    machine(capability, units)
    assert compute.resolved(PretrainConfig(device=wanted)) == expected
    assert compute.resolved(PreflightConfig(pretrain=PretrainConfig(device=wanted))) == expected
    assert compute.resolved(FinetuneConfig(device=wanted, optimizer="muon")) == expected
    fixed = {"device": expected["device"]}
    assert compute.resolved(PretrainConfig(device=wanted, precision="float32")) == fixed
    for config in (FinetuneConfig, DpoConfig, ClassifyConfig, GenerateConfig):
        assert compute.resolved(config(device=wanted)) == fixed


def test_what_nothing_here_computes_has_no_device_in_its_key(machine):
    machine(9)
    download = DownloadConfig.model_validate({"sources": [{"made": "skills", "count": 1}]})
    for config in (RowsConfig(), download, JudgeConfig(), JudgeConfig(scorer="ollama:a")):
        assert compute.resolved(config) == {}
    assert compute.resolved(JudgeConfig(scorer="hf:a")) == {"device": "cuda"}


def test_pitfall_31_training_with_failed_checks_is_no_strict_hit():
    for config in (PretrainConfig, FinetuneConfig, DpoConfig, ClassifyConfig):
        assert config(preflight="warn").key_fields() != config(preflight="refuse").key_fields()


def test_a_key_that_torch_does_not_bear_out_ends_the_stage(machine):
    machine(9)
    with pytest.raises(
        StageError, match="device auto is cuda by this machine's driver, and torch computes on cpu"
    ):
        compute.verify(compute.resolved(PretrainConfig()), PretrainConfig())


@pytest.mark.parametrize(
    ("reuse", "fingerprints", "any_will_do"),
    [
        ("auto", {"device": "cpu"}, False),
        ("auto", {}, True),
        ("any", {"device": "cpu"}, True),
        ("same-environment", {}, False),
    ],
)
def test_which_results_are_used_again_is_a_choice(reuse, fingerprints, any_will_do):
    required = compute.required(RowsConfig(), fingerprints, reuse)
    assert required == (None if any_will_do else compute.environment(RowsConfig(), {}))


def test_the_environment_names_libraries_threads_and_units(monkeypatch, machine):
    machine(None, ["avx2", "fma"])
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    told = json.loads(compute.environment(RowsConfig(), {}))
    assert (told["cpu"], told["threads"]) == ("avx2", "3")
    assert told["torch"] == torch.__version__
    assert json.loads(compute.environment(PretrainConfig(processes=2), {})) == told | {
        "compile": "auto",
        "processes": "2",
        "sharding": "none",
    }
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert json.loads(compute.environment(RowsConfig(), {})) == told | {"threads": "1"}
