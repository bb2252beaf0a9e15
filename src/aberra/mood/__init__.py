"""A challenge after MOOD (Zimmerer 2022): test sets, scores, rankings and submissions."""
