#!/usr/bin/env python3
"""What it takes to factorize the linear layers of two language models as matrices, from what one layer of 4096 x 4096 takes.

  estimate.py SECONDS PLAN_SECONDS   processor time of a 4096 x 4096 layer to factorize and to plan, as tests/Tool/large.sh prints it

The time of an m x n layer, m >= n, is taken in proportion to m n n, its memory as 11 numbers of 8 bytes an entry and 0.2 GiB beside: what the library
reckons with when it begins layers side by side.
"""
import sys

ratio, bytes_of_entry = 4, 2
factorize, plan = (float(text) for text in sys.argv[1:])
# Rows, columns, how many: those of blocks of attention and of a gated feed-forward part.
models = {
    "7B, 32 blocks": [(4096, 4096, 32 * 4), (11008, 4096, 32 * 3)],
    "70B, 80 blocks": [(8192, 8192, 80 * 2), (8192, 1024, 80 * 2), (28672, 8192, 80 * 3)],
}

print("| model | layers | parameters | core-hours to plan | to factorize | the longest layer, min | of 64 workers, h | memory of its worker, GiB "
      "| read in 16 bits, GB | written at a ratio of 4, GB |")
print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
for name, layers in models.items():
    work = [(m * n * min(m, n) / 4096**3, count) for m, n, count in layers]
    units = sum(size * count for size, count in work)
    entries = sum(m * n * count for m, n, count in layers)
    longest = max(size for size, _ in work) * factorize
    largest = max(m * n for m, n, _ in layers)
    # The plan, the share that makes a layer and merge, which knows it by its weight, read it once each.
    read, written = 3 * bytes_of_entry * entries, bytes_of_entry * entries / ratio
    print(f"| {name} | {sum(count for _, _, count in layers)} | {entries / 1e9:.2f} billion | {units * plan / 3600:.1f} | {units * factorize / 3600:.1f} "
          f"| {longest / 60:.1f} | {max(longest, units * factorize / 64) / 3600:.2f} | {88 * largest / 2**30 + 0.2:.1f} | {read / 1e9:.0f} | {written / 1e9:.1f} |")
