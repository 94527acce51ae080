using System.Runtime.InteropServices;
using Google.Protobuf;
using Microsoft.FSharp.Collections;
using Onnx;
using static Onnx.TensorProto.Types;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>The numbers of ONNX tensors and of TorchSharp's.</summary>
internal static class TensorData
{
    private static readonly Dictionary<DataType, ScalarType> Types = new()
    {
        [DataType.Float] = ScalarType.Float32,
        [DataType.Double] = ScalarType.Float64,
        [DataType.Float16] = ScalarType.Float16,
        [DataType.Bfloat16] = ScalarType.BFloat16,
        [DataType.Int64] = ScalarType.Int64,
        [DataType.Int32] = ScalarType.Int32,
        [DataType.Int16] = ScalarType.Int16,
        [DataType.Int8] = ScalarType.Int8,
        [DataType.Uint8] = ScalarType.Byte,
        [DataType.Bool] = ScalarType.Bool,
    };

    /// <summary>TorchSharp's name of a type of ONNX, or null where it has none.</summary>
    internal static ScalarType? TypeOf(int dataType) => Types.TryGetValue((DataType)dataType, out var type) ? type : null;

    /// <summary>ONNX's name of a type of TorchSharp's.</summary>
    internal static DataType TypeOf(ScalarType type) => Types.First(pair => pair.Value == type).Key;

    /// <summary>Whether a type of ONNX is one of floating-point numbers that TorchSharp has.</summary>
    internal static bool IsReal(int dataType) =>
        TypeOf(dataType) is ScalarType.Float32 or ScalarType.Float64 or ScalarType.Float16 or ScalarType.BFloat16;

    private static int SizeOf(int dataType) => TypeOf(dataType) switch
    {
        ScalarType.Float64 or ScalarType.Int64 => 8,
        ScalarType.Float32 or ScalarType.Int32 => 4,
        ScalarType.Int8 or ScalarType.Byte or ScalarType.Bool => 1,
        _ => 2,
    };

    /// <summary>The number of entries that a shape names; null: none, or more than can be counted.</summary>
    private static long? Count(IEnumerable<long> shape)
    {
        var count = 1L;
        foreach (var size in shape)
        {
            if (size < 1 || size > long.MaxValue / count) return null;
            count *= size;
        }

        return count;
    }

    /// <summary>Entries that are held in the list of their type.</summary>
    private static ReadOnlySpan<byte> Listed(TensorProto tensor) => (DataType)tensor.DataType switch
    {
        DataType.Float => MemoryMarshal.AsBytes(tensor.FloatData.ToArray().AsSpan()),
        DataType.Double => MemoryMarshal.AsBytes(tensor.DoubleData.ToArray().AsSpan()),
        DataType.Float16 or DataType.Bfloat16 => MemoryMarshal.AsBytes(tensor.Int32Data.Select(bits => (ushort)bits).ToArray().AsSpan()),
        _ => [],
    };

    /// <summary>Why a tensor cannot be read as a weight; empty where it can.</summary>
    internal static string Problem(TensorProto tensor)
    {
        if (!IsReal(tensor.DataType)) return $"its weight is of {(DataType)tensor.DataType}, no floating-point numbers";
        if (Count(tensor.Dims) is not { } count) return $"its weight has shape {Errors.Shape(tensor.Dims)}";
        var bytes = tensor.RawData.Length > 0 ? tensor.RawData.Length : ListedCount(tensor) * SizeOf(tensor.DataType);
        return bytes == (decimal)count * SizeOf(tensor.DataType)
            ? ""
            : $"its weight of shape {Errors.Shape(tensor.Dims)} holds {bytes} bytes";
    }

    /// <summary>The entries of a tensor of whole numbers; 0 of another, and where it holds too little for them, at a bit each.</summary>
    internal static long Integers(TensorProto tensor) =>
        !IsReal(tensor.DataType) && Count(tensor.Dims) is { } count
        && count <= 8L * Math.Max(tensor.RawData.Length, sizeof(int) * (long)tensor.Int32Data.Count)
            ? count
            : 0;

    /// <summary>The entries of a tensor that can be read as a weight; 0 of another.</summary>
    internal static long Parameters(TensorProto tensor) => Problem(tensor) == "" ? Count(tensor.Dims)!.Value : 0;

    private static long ListedCount(TensorProto tensor) => (DataType)tensor.DataType switch
    {
        DataType.Float => tensor.FloatData.Count,
        DataType.Double => tensor.DoubleData.Count,
        _ => tensor.Int32Data.Count,
    };

    /// <summary>The numbers of a tensor that has no <see cref="Problem"/>, in its own dtype.</summary>
    internal static Tensor Read(TensorProto tensor)
    {
        using var stream = new MemoryStream(tensor.RawData.Length > 0 ? tensor.RawData.ToByteArray() : Listed(tensor).ToArray());
        var read = TensorBytes.read(stream, TypeOf(tensor.DataType)!.Value, ListModule.OfSeq(tensor.Dims));
        return read.IsOk ? read.ResultValue : throw Errors.Unsupported("A weight", read.ErrorValue, "numbers");
    }

    /// <summary>A tensor's numbers in a type of ONNX's, under a name.</summary>
    internal static TensorProto Write(string name, Tensor numbers, int dataType)
    {
        using var converted = numbers.to(TypeOf(dataType)!.Value);
        using var stream = new MemoryStream();
        TensorBytes.write(stream, converted);
        var tensor = new TensorProto
        {
            Name = name,
            DataType = dataType,
            RawData = ByteString.CopyFrom(stream.GetBuffer().AsSpan(0, (int)stream.Length)),
        };
        tensor.Dims.AddRange(numbers.shape);
        return tensor;
    }

    /// <summary>Whole numbers, such as a shape, under a name.</summary>
    internal static TensorProto Write(string name, long[] numbers)
    {
        var tensor = new TensorProto
        {
            Name = name,
            DataType = (int)DataType.Int64,
            RawData = ByteString.CopyFrom(MemoryMarshal.AsBytes(numbers.AsSpan())),
        };
        tensor.Dims.Add(numbers.Length);
        return tensor;
    }
}
