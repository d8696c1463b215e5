#!/usr/bin/env python3
"""moments.py SEED N MAX: N moments at random between 0.3 s and MAX, one a line; the same for the same seed."""
import random
import sys

r = random.Random(int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    print(f"{r.uniform(0.3, float(sys.argv[3])):.2f}")
