using Google.Protobuf;
using Onnx;
using static Onnx.TensorProto.Types;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>A weight of small integers that DequantizeLinear restores: int8, or int4 in pairs of a byte; a scale for each slice of an
/// axis, or one for all.</summary>
/// <param name="Integers">The entries, in int8.</param>
/// <param name="Scales">One number, or one for each slice.</param>
/// <param name="Axis">The axis of the slices.</param>
internal sealed record IntegerWeight(Tensor Integers, Tensor Scales, int Axis)
{
    /// <summary>ONNX's number of the type int4.</summary>
    private const int Int4 = 22;

    /// <summary>The largest bits that int4 holds.</summary>
    internal const int Few = 4;

    /// <summary>A weight whose entries have the given scales; null where they do not stand along an axis. The scope around owns the
    /// tensors.</summary>
    internal static IntegerWeight? Of(Tensor integers, Tensor scales)
    {
        var first = scales.reshape(-1)[..1];
        if (scales.eq(first).all().item<bool>()) return new(integers, first.reshape(), 0);
        for (var axis = 0; axis < scales.dim(); axis++)
        {
            var line = scales.movedim([axis], [0]).reshape(scales.shape[axis], -1)[.., 0];
            var shape = scales.shape.Select((size, i) => i == axis ? size : 1).ToArray();
            if (scales.eq(line.reshape(shape)).all().item<bool>()) return new(integers, line, axis);
        }

        return null;
    }

    /// <summary>The integers as a tensor of ONNX.</summary>
    internal TensorProto Write(string name, bool inFour)
    {
        var written = TensorData.Write(name, Integers, (int)DataType.Int8);
        if (!inFour) return written;
        var entries = written.RawData.Span;
        var packed = new byte[(entries.Length + 1) / 2];

        // The first of a pair is in the lower half.
        for (var i = 0; i < entries.Length; i++) packed[i / 2] |= (byte)((entries[i] & 15) << (4 * (i % 2)));
        written.RawData = ByteString.CopyFrom(packed);
        written.DataType = Int4;
        return written;
    }
}
