"""How well questions about real pictures and clips are understood and answered."""
