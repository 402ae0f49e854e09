"""People's labels of responses: which rows are asked about, where labels are kept, what they say of scores.

scale   what a label is worth;   sample   which rows are drawn, with which chances
store   labels as assessments on traces of MLflow;   queue   the rows that one person is asked about
review   the same rows in MLflow's review;   spreadsheet, terminal   two other ways to label
stage   all labels of some responses, as an output
corrected   scores corrected by labels;   wording   the same in words
"""
