using System.CommandLine;

namespace TensorNets.Tool.Commands;

/// <summary>Arguments and options that several commands have.</summary>
internal static class Shared
{
    internal static Argument<string> File(string name = "FILE", string description = "An .onnx or .safetensors file, or a state dict of PyTorch (.pth, .pt, .bin, .ckpt).") =>
        new(name) { Description = description };

    internal static Option<bool> Json() => new("--json") { Description = "Write one JSON object instead of tables." };
}
