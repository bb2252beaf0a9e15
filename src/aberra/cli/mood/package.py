def package() -> None:
    """X"""
