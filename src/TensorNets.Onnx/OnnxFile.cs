using Google.Protobuf;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using Onnx;

namespace TensorNets.Onnx;

/// <summary>Models read from files and written to them.</summary>
internal static class OnnxFile
{
    /// <summary>The oldest format of files that is read.</summary>
    private const long LeastIr = 3;

    /// <summary>Bytes above which one file cannot hold a model: protobuf counts in 31 bits.</summary>
    internal const long Most = int.MaxValue - (1L << 24);

    /// <summary>A model from a file and those beside it that hold numbers of it.</summary>
    internal static ModelProto Load(string path) =>
        AtomicFile.read(path, FuncConvert.FromFunc<Stream, FSharpResult<ModelProto, FSharpList<TensorNetError>>>(stream =>
            FSharpResult<ModelProto, FSharpList<TensorNetError>>.NewOk(Read(stream, path, Path.GetDirectoryName(Path.GetFullPath(path))))))
                .OrThrow();

    /// <summary>A model from a stream.</summary>
    internal static ModelProto Read(Stream stream, string path, string? folder)
    {
        ModelProto model;
        try
        {
            model = ModelProto.Parser.ParseFrom(stream);
        }
        catch (Exception error)
            when (error is InvalidProtocolBufferException or ArgumentException or OverflowException or InvalidOperationException)
        {
            throw Errors.BadFile(path, $"it is no ONNX model: {error.Message.TrimEnd('.')}");
        }

        if (model.Graph is null || model.IrVersion == 0)
        {
            throw Errors.BadFile(path, "it is no ONNX model: it has no graph or no IR version");
        }

        if (model.IrVersion < LeastIr) throw Errors.BadFile(path, $"its IR version is {model.IrVersion}; expected {LeastIr} or later");
        ExternalData.Resolve(model, path, folder);
        return model;
    }

    /// <summary>The bytes of all numbers of a model, which are nearly all of its bytes.</summary>
    internal static long Size(ModelProto model) => Graphs.Tensors(model).Sum(tensor =>
        tensor.RawData.Length + 4L * (tensor.FloatData.Count + tensor.Int32Data.Count)
        + 8L * (tensor.DoubleData.Count + tensor.Int64Data.Count));

    /// <summary>A file beside a model that is not there: one that an older model reads its numbers from stays as it is.</summary>
    private static string Beside(string path) =>
        Enumerable.Range(0, int.MaxValue).Select(i => i == 0 ? $"{path}.data" : $"{path}.{i}.data").First(file => !File.Exists(file));

    /// <summary>Writes a model; its numbers beside it where asked for, or where one file cannot hold them.</summary>
    internal static void Save(ModelProto model, string path, bool externalData)
    {
        if (externalData || Size(model) > Most) model = ExternalData.Write(model, Beside(path));
        AtomicFile.write(path, FuncConvert.FromAction<Stream>(model.WriteTo)).OrThrow();
    }
}
