"""Judges: who they are, what they are asked, what they answer, and how an answer is read.

    responses   the rows, and which responses need no judge to be told apart
    prompts     what a judge is asked;   criteria   the same about criteria of the user's own
    forms       how it may be asked, and how its answer is read
    backends    where judges are;   identities   who they are now;   in_flight   how many are asked at once
    refusals    what a server takes no part of a request in, learnt from its words
    asking      from a question to its verdict;   answers   what was ever said

What the verdicts are for is told by who asks: `audit`, `score` and `compare`.
"""
