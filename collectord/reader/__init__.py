"""What people do with what has landed: list it, print it. Works on the store alone; needs no daemon."""
