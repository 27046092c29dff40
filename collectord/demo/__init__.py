"""The main job, shown: a real model scores real rows, the daemon is killed in the middle, and what landed is read back."""
