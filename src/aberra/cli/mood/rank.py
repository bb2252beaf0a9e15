def rank() -> None:
    """X"""
