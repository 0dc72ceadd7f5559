"""`make load`: what a memory platform costs in processor time, memory and disk, and where it ends."""
