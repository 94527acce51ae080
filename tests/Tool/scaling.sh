#!/usr/bin/env bash
# The shares of one plan on 1, 2 and 4 workers, each pinned to a processor: processor time, wall time, predicted and real share of each.
#   scaling.sh TensorNets.Tool.dll FILE [OPTIONS OF PLAN, as --ratio 3 --format tucker2]
# Efficiency of n workers is the processor time of one worker over n times that of the busiest of n; wall times mean something on an idle machine.
set -euo pipefail
dll=$(realpath "$1") model=$(realpath "$2") folder=$(mktemp -d) processors=$(nproc)
shift 2
trap 'rm -rf "$folder"' EXIT
export OMP_NUM_THREADS=1
TIMEFORMAT='%R %U %S'
dotnet "$dll" plan "$model" "$@" -o "$folder/plan.json" --workers 1 >/dev/null
worker() { # i n: pinned; its wall and processor time
    { time taskset -c "$((($1 - 1) % processors))" dotnet "$dll" compress "$model" --plan "$folder/plan.json" --work "$folder/work$2" \
        --workers 1 --shard "$1/$2" --json >"$folder/share$2-$1.json" 2>/dev/null; } 2>"$folder/time$2-$1"
}

for n in 1 2 4; do
    # Of more workers than processors, as many at a time as there are processors.
    for ((i = 1; i <= n; i++)); do
        worker "$i" "$n" &
        if ((i % processors == 0)); then wait; fi
    done
    wait
done
/usr/bin/python3 - "$folder" <<'END'
import json, sys

folder = sys.argv[1]
shares = {n: [json.load(open(f"{folder}/share{n}-{i}.json")) for i in range(1, n + 1)] for n in (1, 2, 4)}
times = {n: [[float(t) for t in open(f"{folder}/time{n}-{i}").read().split()] for i in range(1, n + 1)] for n in (1, 2, 4)}
alone = sum(times[1][0][1:])
seconds = {layer["name"]: layer["seconds"] for layer in shares[1][0]["layers"]}
print(f"{len(seconds)} layers")
print("| workers | processor time, s | of the busiest, s | efficiency | wall of the slowest, s | layers | share of the time of one run, % |")
print("|---:|---:|---:|---:|---:|---|---|")
for n in (1, 2, 4):
    used = [user + system for _, user, system in times[n]]
    layers = ", ".join(str(len(share["layers"])) for share in shares[n])
    whole = sum(seconds.values())
    dealt = ", ".join(f"{100 * sum(seconds[layer['name']] for layer in share['layers']) / whole:.0f}" for share in shares[n])
    print(f"| {n} | {sum(used):.1f} | {max(used):.1f} | {alone / (n * max(used)):.2f} | {max(wall for wall, _, _ in times[n]):.1f} | {layers} | {dealt} |")
END
