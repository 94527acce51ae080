using Google.Protobuf;
using Microsoft.FSharp.Collections;
using Microsoft.ML.OnnxRuntime;
using Onnx;
using static TorchSharp.torch;

namespace TensorNets.Onnx;

/// <summary>A model in ONNX Runtime, on the CPU, with values of the graph as further outputs.</summary>
internal sealed class OnnxSession : IDisposable
{
    private readonly SessionOptions? options;
    private readonly RunOptions? running;
    private readonly InferenceSession session;
    private readonly string name;

    /// <summary>Opens a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="name">What errors call it.</param>
    /// <param name="values">Values of the main graph that can be asked for beside its outputs.</param>
    /// <param name="threads">Threads of one operator; 0: as many as ONNX Runtime takes.</param>
    internal OnnxSession(ModelProto model, string name, IEnumerable<string>? values = null, int threads = 0)
    {
        this.name = name;
        var seen = model.Graph.Output.Select(output => output.Name).ToHashSet();
        var more = (values ?? []).Where(value => seen.Add(value)).ToList();
        if (more.Count > 0)
        {
            model = model.Clone();
            model.Graph.Output.AddRange(more.Select(value => new ValueInfoProto { Name = value }));
        }

        try
        {
            running = new();
            options = new()
            {
                LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL,
                IntraOpNumThreads = threads,
                InterOpNumThreads = 1,
            };
            if (HasWeightsOfIntegers(model)) options.AddSessionConfigEntry("session.disable_quant_qdq", "1");
            session = OnnxFile.Size(model) > OnnxFile.Most ? Opened(model) : new InferenceSession(model.ToByteArray(), options);
        }
        catch (OnnxRuntimeException error)
        {
            Close();
            throw Errors.BadFile(name, $"ONNX Runtime says: {Said(error)}");
        }
        catch (Exception error) when (error is TypeInitializationException or DllNotFoundException)
        {
            throw new TensorNetException([TensorNetError.NewNativeLibrary(
                "ONNX Runtime's native library cannot be loaded.",
                "Add a reference to the package Microsoft.ML.OnnxRuntime to the program.")]);
        }
    }

    /// <summary>Whether integers stand for weights alone: ONNX Runtime restores those once, when it loads a model, if it is told not to
    /// look for arithmetic of integers.</summary>
    private static bool HasWeightsOfIntegers(ModelProto model)
    {
        var operators = Graphs.Nodes(model.Graph).Select(node => node.OpType).ToHashSet();
        return operators.Contains("DequantizeLinear") && !operators.Contains("QuantizeLinear");
    }

    /// <summary>The first line of what ONNX Runtime says.</summary>
    private static string Said(Exception error) => error.Message.Split('\n')[0].TrimEnd('.');

    /// <summary>A model of more bytes than one file can hold, by way of files.</summary>
    private InferenceSession Opened(ModelProto model)
    {
        var folder = Directory.CreateTempSubdirectory("tensornets");
        try
        {
            var file = Path.Combine(folder.FullName, "model.onnx");
            OnnxFile.Save(model, file, externalData: true);
            return new(file, options);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    /// <summary>The outputs of the model, in its order, and the further ones.</summary>
    internal IReadOnlyList<string> Outputs => session.OutputNames;

    /// <summary>Runs the model; the caller owns the tensors. Outputs that are no tensors of numbers are left out.</summary>
    internal Dictionary<string, Tensor> Run(IReadOnlyDictionary<string, Tensor> inputs, IReadOnlyCollection<string> outputs)
    {
        var given = inputs.ToDictionary(pair => pair.Key, pair => Value(pair.Value));
        try
        {
            using var results = session.Run(running, given, outputs);
            return outputs.Zip(results).Where(pair => pair.Second.IsTensor)
                .Select(pair => (pair.First, Tensor: Numbers(pair.Second)))
                .Where(pair => pair.Tensor is not null)
                .ToDictionary(pair => pair.First, pair => pair.Tensor!);
        }
        catch (OnnxRuntimeException error)
        {
            throw Errors.Unsupported(
                $"The input of '{name}'",
                string.Join(", ", inputs.Select(pair => $"{pair.Key} {Errors.Shape(pair.Value.shape)}")),
                $"what the model takes; ONNX Runtime says: {Said(error)}");
        }
        finally
        {
            foreach (var value in given.Values) value.Dispose();
        }
    }

    /// <summary>A run with inputs at hand, to be timed.</summary>
    internal PreparedRun Prepare(IReadOnlyDictionary<string, Tensor> inputs) =>
        new(session, inputs.ToDictionary(pair => pair.Key, pair => Value(pair.Value)));

    private static OrtValue Value(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        var plain = tensor.detach().cpu().contiguous();
        var type = (Microsoft.ML.OnnxRuntime.Tensors.TensorElementType)(int)TensorData.TypeOf(tensor.dtype);
        var value = OrtValue.CreateAllocatedTensorValue(OrtAllocator.DefaultInstance, type, tensor.shape);
        if (tensor.numel() > 0) plain.bytes.CopyTo(value.GetTensorMutableRawData());
        return value;
    }

    private static Tensor? Numbers(OrtValue value)
    {
        var info = value.GetTensorTypeAndShape();
        if (TensorData.TypeOf((int)info.ElementDataType) is not { } type) return null;
        var tensor = empty(info.Shape, dtype: type, device: CPU);
        if (tensor.numel() > 0) value.GetTensorMutableRawData().CopyTo(tensor.bytes);
        return tensor;
    }

    private void Close()
    {
        running?.Dispose();
        options?.Dispose();
    }

    public void Dispose()
    {
        session.Dispose();
        Close();
    }
}
