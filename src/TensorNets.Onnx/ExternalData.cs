using System.Globalization;
using Google.Protobuf;
using Microsoft.FSharp.Core;
using Onnx;
using static Onnx.TensorProto.Types;

namespace TensorNets.Onnx;

/// <summary>Numbers that stand in files beside a model.</summary>
internal static class ExternalData
{
    /// <summary>Bytes above which a tensor stands beside the model.</summary>
    private const int Least = 1024;

    /// <summary>Where numbers begin in their file.</summary>
    private const long Page = 4096;

    private static string? Entry(TensorProto tensor, string key) => tensor.ExternalData.FirstOrDefault(entry => entry.Key == key)?.Value;

    /// <summary>Reads all numbers that stand beside a model into it.</summary>
    internal static void Resolve(ModelProto model, string path, string? folder)
    {
        var external = Graphs.Tensors(model).Where(tensor => tensor.DataLocation == DataLocation.External).ToList();
        if (external.Count == 0) return;
        if (folder is null) throw Errors.BadFile(path, "its numbers stand in other files; expected a model that is read from a path");

        // No more is read than there is, however often tensors name it.
        var left = external.Select(tensor => Entry(tensor, "location") ?? "").Distinct()
            .Sum(location => 2 * new FileInfo(Located(path, folder, location)).Length);
        foreach (var tensor in external)
        {
            var file = Located(path, folder, Entry(tensor, "location") ?? "");
            var size = new FileInfo(file).Length;
            var offset = Number(path, tensor, "offset", 0);
            var length = Number(path, tensor, "length", size - offset);
            if (offset > size || length > size - offset || length > Array.MaxLength || length > left)
            {
                throw Errors.BadFile(path,
                    $"'{tensor.Name}' is said to have {length} bytes from {offset} of '{Path.GetFileName(file)}', which has {size}");
            }

            left -= length;
            var bytes = new byte[length];
            using (var stream = File.OpenRead(file))
            {
                stream.Position = offset;
                stream.ReadExactly(bytes);
            }

            tensor.RawData = UnsafeByteOperations.UnsafeWrap(bytes);
            tensor.ExternalData.Clear();
            tensor.DataLocation = DataLocation.Default;
        }
    }

    private static long Number(string path, TensorProto tensor, string key, long otherwise)
    {
        if (Entry(tensor, key) is not { } text) return otherwise;
        return long.TryParse(text, CultureInfo.InvariantCulture, out var number) && number >= 0
            ? number
            : throw Errors.BadFile(path, $"the {key} of '{tensor.Name}' is '{text}'; expected a whole number");
    }

    /// <summary>The file of a location, which leads nowhere but into the model's own folder.</summary>
    private static string Located(string path, string folder, string location)
    {
        var file = location is "" || Path.IsPathRooted(location) || location.Contains('\0') ? ""
            : Path.GetFullPath(Path.Combine(folder, location));
        var inside = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)) + Path.DirectorySeparatorChar;
        if (!file.StartsWith(inside, StringComparison.Ordinal))
        {
            throw Errors.BadFile(path, $"its numbers stand at '{location}'; expected a path within its folder");
        }

        return File.Exists(file) ? file : throw Errors.BadFile(path, $"its numbers stand in '{location}', which is missing");
    }

    /// <summary>A copy of a model whose large tensors stand in a file beside it, which is written first.</summary>
    internal static ModelProto Write(ModelProto model, string file)
    {
        var lean = model.Clone();
        var large = Graphs.Tensors(lean).Where(tensor => tensor.RawData.Length >= Least).ToList();
        AtomicFile.write(file, FuncConvert.FromAction<Stream>(stream =>
        {
            var position = 0L;
            foreach (var tensor in large)
            {
                var start = (position + Page - 1) / Page * Page;
                stream.Write(new byte[start - position]);
                stream.Write(tensor.RawData.Span);
                position = start + tensor.RawData.Length;
                Moved(tensor, Path.GetFileName(file), start);
            }
        })).OrThrow();
        return lean;
    }

    private static void Moved(TensorProto tensor, string location, long start)
    {
        void Say(string key, string value) => tensor.ExternalData.Add(new StringStringEntryProto { Key = key, Value = value });
        Say("location", location);
        Say("offset", $"{start}");
        Say("length", $"{tensor.RawData.Length}");
        tensor.RawData = ByteString.Empty;
        tensor.DataLocation = DataLocation.External;
    }
}
