"""Two models' responses to the same rows, compared row by row.

pairs      the rows that both answered;     scores   what the difference of their scores shows
pairwise   a judge who is shown both;       stage    all of it;     page   what it found, for people
"""
