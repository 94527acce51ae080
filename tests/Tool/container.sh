#!/usr/bin/env bash
# The image of src/TensorNets.Tool/Containerfile, built and run without a registry of images: its bases are Debian's smallest system and this machine's
# .NET. By hand, as root:
#   container.sh [FOLDER]
# Debian: buildah, debootstrap. FOLDER keeps Debian's system and the images; without it they are made in a temporary one, which takes some 3 GB. On two
# processors that had much other work it took 22 minutes, 16 of them the build in the image, which has 946 MB.
set -euo pipefail
source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..") dotnet=$(dirname "$(realpath "$(command -v dotnet)")")
folder=${1:-}
if [[ -z $folder ]]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
mkdir -p "$folder"/{store,run,data}
folder=$(realpath "$folder")
for program in buildah debootstrap; do
    command -v "$program" >/dev/null || { echo "there is no $program; Debian has it" >&2; exit 77; }
done

# Plain copies as layers, and no namespaces: neither wants more of the machine than a root's chroot.
export BUILDAH_ISOLATION=chroot
engine() { buildah --root "$folder/store" --runroot "$folder/run" --storage-driver vfs "$@"; }
step() { echo "$1: $SECONDS s"; }

if [[ ! -f $folder/debian/usr/bin/apt ]]; then
    debootstrap --variant=minbase --include=ca-certificates,libgomp1,libicu72,libssl3,libstdc++6 bookworm "$folder/debian" >"$folder/debian.log"
fi
step "Debian's system"

# base NAME FOLDERS...: Debian's system with these folders of .NET.
base() {
    local name=$1 container
    shift
    engine images --quiet "$name" >/dev/null 2>&1 && return
    container=$(engine from scratch)
    engine copy --quiet "$container" "$folder/debian" / >/dev/null
    for part in "$@"; do engine copy --quiet "$container" "$dotnet/$part" "/usr/share/dotnet/$part" >/dev/null; done
    engine run "$container" -- ln -s /usr/share/dotnet/dotnet /usr/bin/dotnet
    engine commit --quiet --rm "$container" "$name" >/dev/null
}
base localhost/runtime dotnet host shared
base localhost/sdk dotnet host shared sdk packs sdk-manifests templates
step "images of .NET"

# Packages come by this machine's NuGet, its certificates and its cache.
packages=${NUGET_PACKAGES:-$HOME/.nuget/packages}
engine build --quiet --network host --build-arg SDK=localhost/sdk --build-arg RUNTIME=localhost/runtime \
    --volume "$HOME/.nuget/NuGet:/root/.nuget/NuGet:ro" --volume "$packages:/root/.nuget/packages" --volume /etc/ssl/certs:/etc/ssl/certs:ro \
    --file "$source/src/TensorNets.Tool/Containerfile" --tag tensornets "$source" >"$folder/build.log" 2>&1 ||
    { tail -n 30 "$folder/build.log" >&2; exit 1; }
step "the image of tensornets"

/usr/bin/python3 - "$folder/data/model.safetensors" <<'END'
import json, random, struct, sys

draw, size, header, numbers = random.Random(1), 64, {}, b""
for i in range(4):
    values = struct.pack(f"<{size * size}f", *(draw.gauss(0, 1) for _ in range(size * size)))
    header[f"layer{i}.weight"] = {"dtype": "F32", "shape": [size, size], "data_offsets": [len(numbers), len(numbers) + len(values)]}
    numbers += values
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[1], "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + numbers)
END
container=$(engine from tensornets)
entry=$(engine inspect --type image --format '{{.OCIv1.Config.Entrypoint}}' tensornets)
[[ $entry == "[dotnet /tool/TensorNets.Tool.dll]" ]] || { echo "the entry point is $entry" >&2; exit 1; }
tensornets() { engine run --volume "$folder/data:/data" "$container" -- dotnet /tool/TensorNets.Tool.dll "$@"; }
tensornets inspect model.safetensors
tensornets plan model.safetensors --ratio 2 -o plan.json
for share in 1 2; do tensornets compress model.safetensors --plan plan.json --work work --workers 1 --shard "$share/2"; done
tensornets merge --work work -o small.safetensors
tensornets compare model.safetensors small.safetensors
engine rm "$container" >/dev/null
size=$(engine images --format '{{.Size}}' tensornets)
echo "passed: the image of tensornets ($size) plans, shares, merges and compares; $SECONDS s"
