"""Scoring responses: the reference metrics always, and judges beside them when they are configured.

metrics, behaviour   numbers that need no judge;   panel   several judges together
summary   what a list of scores comes to;   stage   all of it, for one file of responses
traces    the same for MLflow's UI;   terminal   the same for a terminal
"""
