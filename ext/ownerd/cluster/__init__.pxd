"""Makes the folder a package to Cython; __init__.py says what it owns."""
