"""A training in processes that are forked here, since torchrun takes its time to start them."""

import os
import signal
import socket
from contextlib import suppress

import torch

from tasks.distributed.part import Share
from tasks.errors import StoppedError
from tasks.pretrain import speed
from tasks.record import StageRun


def run_in(folder, **watching):
    return StageRun(
        out=folder / "output", aside=folder / "aside", checkpoint=folder / "checkpoint", **watching
    )


def _part(rank, port, train, config, inputs, folder, last_step, asked):
    """What torchrun would have one of its processes do."""
    torch.set_num_threads(1)
    speed.MATRIX_SIDE["cpu"] = 64
    count = str(config.processes)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }

    def until(done, *_):
        if done == last_step and not asked:
            os.kill(os.getpid(), signal.SIGKILL)
        elif done == last_step and rank == 1:  # one of them is enough
            run.stop.set()

    run = run_in(folder, progress=until)
    with suppress(StoppedError):
        train(config, run, Share(rank == 0, lambda: None), **inputs)


class Together:
    """Trains in forked processes, and ends those that are left."""

    def __init__(self, forked):
        self.forked = forked
        self.started = []

    def __call__(self, train, config, inputs, folder, last_step=None, asked=False):
        """The run, and the exit status of each process; killed after a step, or one of them asked to stop."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        own = []
        for rank in range(config.processes):
            arguments = (rank, port, train, config, inputs, folder, last_step, asked)
            own.append(self.forked.Process(target=_part, args=arguments))
            own[-1].start()
        self.started += own
        for process in own:
            process.join(60)
        return run_in(folder), [process.exitcode for process in own]

    def end(self):
        for process in self.started:
            if process.is_alive():
                process.kill()
                process.join()
