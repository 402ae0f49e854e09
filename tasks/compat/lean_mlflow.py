"""Has MLflow imported without pandas, which takes half as long as MLflow itself and no look-up needs.

MLflow takes pandas for optional: mlflow-skinny is the same code without it. It is hidden while MLflow's own
modules are read, and there again afterwards, for whatever asks for it. Of what this project uses, one module
would stay without what needs pandas: `mlflow.models`, which is read again by who packs a model.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

HIDDEN = "pandas"


class LeanMlflow(MetaPathFinder):
    """Finds MLflow, once, and nothing else."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "mlflow":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutPandas(spec.loader)
        return spec


class _WithoutPandas(Loader):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        hides = HIDDEN not in sys.modules
        if hides:
            sys.modules[HIDDEN] = None  # type: ignore[assignment]  # what Python takes for "not installed"
        try:
            self.loader.exec_module(module)
        finally:
            if hides:
                del sys.modules[HIDDEN]
                sys.modules.pop("mlflow.models", None)


def complete_models() -> None:
    """Give `mlflow.models`, when it was read again, its submodules by name, as the first reading gave them.

    Python binds a submodule in its package only when it is read for the first time, and MLflow looks for
    `mlflow.models.model` there when it packs a model from a script.
    """
    package = import_module("mlflow.models")
    for name, module in [*sys.modules.items()]:
        parent, _, own = name.rpartition(".")
        if parent == package.__name__ and not hasattr(package, own):
            setattr(package, own, module)


def import_mlflow_lean() -> None:
    """From now on, whoever is the first to import MLflow gets it so."""
    if "mlflow" not in sys.modules:
        sys.meta_path.insert(0, LeanMlflow())
