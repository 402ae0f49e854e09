"""Scripts that MLflow keeps beside a model: they import nothing of this package, and answer plain inputs."""
