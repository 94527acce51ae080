"""Files of compressed models and layers, read with numpy alone: python3 compressed.py FILE lists the dense weights."""
import json
import re
import sys

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


def read(path):
    """The tensors of a safetensors file by name, and its metadata."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    about = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        part = data[slice(*entry["data_offsets"])]
        if entry["dtype"] == "BF16":  # the upper half of a float32
            flat = (np.frombuffer(part, "<u2").astype("<u4") << 16).view("<f4")
        else:
            flat = np.frombuffer(part, DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors, about


def network(spec):
    """The cores of a spec's text, each its name and its axes, and the axes of the output."""
    def axes(text):
        return re.findall(r"\w+" if " " in text or "(" in text else r"[^\W\d_][\d_]*", text)

    cores, output = spec.split("|")[0].split("->")
    named = [core.split(":") for core in cores.split(",")]
    own = [chr(65 + i) if i < 26 else f"A{i}" for i in range(len(named))]
    return [((core[:-1] or [name])[0].strip(), axes(core[-1].strip())) for name, core in zip(own, named)], axes(output.strip())


def restored(layer, tensors):
    """The cores of a layer of few bits: integers, packed in bytes, times scales."""
    bits, axes = layer["quantized"]["bits"], dict(network(layer["spec"])[0])
    dims = {axis: int(size) for axis, size in re.findall(r"(\w+)=(\d+)", layer["spec"].split("|")[1])}
    cores = {}
    for entry in layer["quantized"]["cores"]:
        name, shape = entry["core"], [dims[axis] for axis in axes[entry["core"]]]
        flags = np.unpackbits(tensors[name + ".integers"], bitorder="little")[:int(np.prod(shape)) * bits].reshape(-1, bits)
        integers = (flags.astype("i8") << np.arange(bits)).sum(1)
        integers -= (integers >> (bits - 1)) << bits  # the highest bit is the sign
        if "axis" in entry:  # a scale for each slice of a bond
            scales = tensors["bond." + axes[name][entry["axis"]] + ".scales"].reshape([-1] + [1] * (len(shape) - 1 - entry["axis"]))
        elif "group" in entry:  # a scale for so many entries in turn
            scales = np.repeat(tensors[name + ".scales"], entry["group"])[:integers.size].reshape(shape)
        else:
            scales = tensors[name + ".scales"]
        cores[name] = integers.reshape(shape) * scales
    return cores


def weight(layer, cores):
    """The dense weight, laid out as PyTorch's layer has it. A core is a tensor by its name."""
    lists, output = network(layer["spec"])
    number = {axis: i for i, axis in enumerate(dict.fromkeys(axis for _, axes in lists for axis in axes))}
    operands = [part for name, axes in lists for part in (cores[name].astype("f8"), [number[axis] for axis in axes])]
    kernel = np.einsum(*operands, [number[axis] for axis in output], optimize=True)
    groups, size = layer["groups"], layer["kernel"]
    inputs, outputs = layer["in"] // groups, layer["out"] // groups
    kernel = kernel.reshape(groups, inputs, -1, outputs)
    if layer["transposed"]:
        return kernel.transpose(0, 1, 3, 2).reshape(groups * inputs, outputs, *size)
    return kernel.transpose(0, 3, 1, 2).reshape(groups * outputs, inputs, *size)


def state(path):
    """The state of the dense model: of every factorized layer the weight in the place of its cores."""
    tensors, about = read(path)
    records = json.loads(about["model"])["layers"] if "model" in about else [{"paths": [""], "layer": json.loads(about["layer"])}]
    for record in records:
        layer = record["layer"]
        places = [place + "." if place else "" for place in record["paths"]]
        names = [name[len(places[0]):] for name in tensors if name.startswith(places[0])]
        own = {name: tensors.pop(places[0] + name) for name in names}
        dense = weight(layer, restored(layer, own) if "quantized" in layer else own)
        for place in places:
            tensors[place + "weight"] = dense
            if "bias" in own:
                tensors[place + "bias"] = own["bias"]
    return tensors


if __name__ == "__main__":
    for name, tensor in state(sys.argv[1]).items():
        print(name, tensor.dtype, list(tensor.shape))
