"""Is a judge fit to be believed? It is asked about answers whose worth is known, before its scores count.

controls   the answers, made from rows with their references;   gates   what the scores of them show
stage      the audit of one judge;                              page    what it found, for people
"""
