#!/usr/bin/env bash
# Makes the four files beside this script: the first images of the training and of the test set of the whole Fashion-MNIST, in its order.
#   ./make.sh [FOLDER]     FOLDER has the whole set, by default where Debian's package dataset-fashion-mnist puts it
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")"
full=${1:-/usr/share/datasets/fashion-mnist}
whole=$(mktemp)
trap 'rm -f "$whole"' EXIT

# NAME COUNT BYTES: the first COUNT values of an IDX file, with what follows the count in its header. A header is four bytes of magic
# number, the count as a big-endian number of 32 bits, and the other dimensions alike.
first_of() {
    local name=$1 count=$2 bytes=$3
    gzip -dc "$full/$name.gz" >"$whole"
    {
        head -c 4 "$whole"
        printf '%08x' "$count" | sed 's/../\\x&/g' | xargs -0 printf
        tail -c +9 "$whole" | head -c "$bytes"
    } | gzip --best --no-name >"$name.gz"
    echo "$(gzip -dc "$name.gz" | sha256sum | cut -c1-64)  $name"
}

{
    first_of train-images-idx3-ubyte 8000 $((8 + 8000 * 28 * 28))
    first_of train-labels-idx1-ubyte 8000 8000
    first_of t10k-images-idx3-ubyte 2000 $((8 + 2000 * 28 * 28))
    first_of t10k-labels-idx1-ubyte 2000 2000
} >SHA256SUMS
