"""The triage server: accounts, uploads, a queue of cases, a worklist and a viewer, behind a login."""
