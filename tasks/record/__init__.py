"""The stage record: the key of a stage, its MLflow run, its files and their digest."""
