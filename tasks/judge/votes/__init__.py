"""People's votes between two models that answered the same message.

store      votes as assessments on traces of MLflow;     document   how often each model was preferred
rows       votes as rows of preference, to train on
"""
