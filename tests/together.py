"""A training in processes that are forked here, since torchrun takes its time to start them."""

import os
import signal
import socket
from contextlib import suppress

import torch

from tasks.distributed.part import Share
from tasks.errors import StoppedError
from tasks.pretrain import speed
from tests.runs import stage_run_in


def as_rank(rank, count, port):
    """Take this process for one of those that torchrun starts."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _part(rank, train, config, inputs, folder, last_step, asked, port):
    """What torchrun would have one of its processes do."""
    torch.set_num_threads(1)
    speed.MATRIX_SIDE["cpu"] = 64
    as_rank(rank, config.processes, port)

    def until(done, *_):
        if done == last_step and not asked:
            os.kill(os.getpid(), signal.SIGKILL)
        elif done == last_step and rank == 1:  # one of them is enough
            run.stop.set()

    run = stage_run_in(folder, progress=until)
    with suppress(StoppedError):
        train(config, run, Share(rank == 0, lambda: None), **inputs)


class Together:
    """Forks processes that work together, and ends those that are left."""

    def __init__(self, forked):
        self.forked = forked
        self.started = []

    def __call__(self, train, config, inputs, folder, last_step=None, asked=False):
        """The run, and the exit status of each process; killed after a step, or one of them asked to stop."""
        arguments = [
            (rank, train, config, inputs, folder, last_step, asked) for rank in range(config.processes)
        ]
        return stage_run_in(folder), self.start(_part, arguments)

    def start(self, target, arguments):
        """A process for each of the arguments, and a port for them behind; their exit statuses."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        own = [self.forked.Process(target=target, args=(*each, port)) for each in arguments]
        self.started += own
        for process in own:
            process.start()
        for process in own:
            process.join(60)
        return [process.exitcode for process in own]

    def end(self):
        for process in self.started:
            if process.is_alive():
                process.kill()
                process.join()
