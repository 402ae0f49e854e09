"""What a process does that opens files of answers together with others; light to import."""

from tasks.judge.ask.answers import AnswerStore
from tasks.servers.replies import Reply


def open_together(paths, barrier, failures):
    """Open each path when all processes are there, and say what went wrong, if anything."""
    told = None
    for path in paths:
        barrier.wait()
        try:
            with AnswerStore(path) as answers:
                answers.add("a", "ollama:x", Reply(200, None, None, 0.0))
        except Exception as error:
            told = repr(error)
    failures.put(told)
