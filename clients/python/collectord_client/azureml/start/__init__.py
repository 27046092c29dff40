"""A folder for PYTHONPATH, whose `sitecustomize` Python imports before a program begins."""
