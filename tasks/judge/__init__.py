"""Scoring responses: the reference metrics always, and judges beside them when they are configured.

responses   the rows, and which responses need no judge to be told apart
prompts     what a judge is asked;   forms   how it may be asked, and how its answer is read
backends    where judges are;        asking  from a question to its verdict;   answers   what was said
metrics, behaviour, summary, panel   the numbers
stage       all of it, for one file of responses;   traces   the same for MLflow's UI
"""
