-- Run once, when the volume is empty. Prefect and MLflow both keep their schema's version in a table called
-- alembic_version: in one database each would take the other's for its own.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
