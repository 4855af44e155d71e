"""What depthtui reads from files and pipes, changed at random: see `fuzzing.py`."""
