"""What is done with detectors and whole cohorts: one file a command. Only these rooms change files of the user's."""
