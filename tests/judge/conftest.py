import pytest

from tasks.judge import asking
from tests.judge.judging import Trial


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch):
    monkeypatch.setattr(asking, "BASE_DELAY", 0.001)
    for name in ("OLLAMA_HOST", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def trial(tmp_path):
    """A factory for attempts in one folder."""
    return lambda rows, **config: Trial(tmp_path, rows, **config)
