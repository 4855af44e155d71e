"""The commands of the explorer's keys, one value each."""
