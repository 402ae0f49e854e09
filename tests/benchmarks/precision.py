"""The precision that this machine multiplies in: a rival in another would measure its emulation."""

import torch

from tasks.machine.device import multiplies_in_bfloat16


def fastest(device: str = "cpu") -> str:
    """bfloat16 where the hardware multiplies in it, else float32."""
    return "bfloat16" if multiplies_in_bfloat16(torch.device(device)) else "float32"
