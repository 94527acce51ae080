#!/usr/bin/env bash
# A model of linear layers that is larger than the memory of a worker: written, planned, compressed in shares, merged; the most resident memory and the
# processor time of each step.
#   large.sh TensorNets.Tool.dll FOLDER [LAYERS=64] [SIZE=4096] [SHARES=16] [FACTORIZED=LAYERS]
# Of more layers than FACTORIZED the rest stays dense. The folder must have room for LAYERS x SIZE x SIZE x 4 bytes twice; what is there is kept.
set -euo pipefail
dll=$(realpath "$1") folder=$2 layers=${3:-64} size=${4:-4096} shares=${5:-16}
factorized=${6:-$layers}
export OMP_NUM_THREADS=1
mkdir -p "$folder"
cd "$folder"

# Runs the tool and prints the peak of its resident memory and its processor time.
tool() {
    local what=$1 pid peak=0 ticks=0 now
    shift
    dotnet "$dll" "$@" >"$what.log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null || true)
        peak=${now:-$peak}
        now=$(cut -d ' ' -f 14,15 "/proc/$pid/stat" 2>/dev/null | tr ' ' '+' || true)
        ticks=$((${now:-$ticks}))
        sleep 0.2
    done
    wait "$pid" || { cat "$what.log" >&2; exit 1; }
    echo "$what: $((peak / 1024)) MiB at most, $((ticks / $(getconf CLK_TCK))) s of processor time"
}

if [[ ! -f model.safetensors ]]; then
    /usr/bin/python3 - "$layers" "$size" <<'END'
import json, struct, sys
import numpy as np

layers, size = int(sys.argv[1]), int(sys.argv[2])
length = 4 * size * size
entries = {f"layers.{i}.weight": {"dtype": "F32", "shape": [size, size], "data_offsets": [i * length, (i + 1) * length]} for i in range(layers)}
header = json.dumps(entries).encode()
header += b" " * (-len(header) % 8)
with open("model.safetensors.part", "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header)
    for i in range(layers):
        draw = np.random.default_rng(i).standard_normal((size, size), dtype=np.float32)
        file.write((draw / np.float32(np.sqrt(size))).tobytes())
END
    mv model.safetensors.part model.safetensors
fi

echo "$layers layers of $size x $size, $(($(stat -c %s model.safetensors) >> 20)) MiB"
dense=()
for ((i = factorized; i < layers; i++)); do dense+=("layers.$i"); done
if [[ ! -f plan.json ]]; then
    # One size of layers, so that all have the ratio; with layers that stay dense by an error that all meet at that ratio.
    budget=(--ratio 4)
    [[ ${#dense[@]} -eq 0 ]] || budget=(--error 0.8 --keep "${dense[@]}")
    tool plan plan model.safetensors "${budget[@]}" -o plan.json --workers 1
fi
for ((i = 1; i <= shares; i++)); do
    tool "share $i of $shares" compress model.safetensors --plan plan.json --work work --shard "$i/$shares" --workers 1
done
tool merge merge --work work -o merged.safetensors
echo "merged: $(($(stat -c %s merged.safetensors) >> 20)) MiB"
