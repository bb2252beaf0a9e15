"""What is done with detectors and whole cohorts: a file a command."""
