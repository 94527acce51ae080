using System.Text;
using TensorNets.Onnx;
using static TorchSharp.torch;

namespace TensorNets.Integration.OnnxFiles.Recognition;

/// <summary>Reads lines of text by a network that gives a distribution over characters for each column of an image.</summary>
internal static class Reader
{
    /// <summary>What a network reads in each line, on one thread.</summary>
    internal static IReadOnlyList<string> Read(OnnxModel model, IReadOnlyList<string> characters, IEnumerable<TextLine> lines)
    {
        using var session = new OnnxSession(model.Proto, model.Path, threads: 1);
        return [.. lines.Select(line =>
        {
            using var scope = NewDisposeScope();
            var found = session.Run(new Dictionary<string, Tensor> { [model.Proto.Graph.Input[0].Name] = line.Image }, session.Outputs);
            return Text([.. found.Values.First()[0].argmax(1).data<long>()], characters);
        })];
    }

    /// <summary>Greedy decoding of connectionist temporal classification: repeats are one character, and class 0 is none, which parts two
    /// that are the same.</summary>
    internal static string Text(IReadOnlyList<long> classes, IReadOnlyList<string> characters)
    {
        var text = new StringBuilder();
        for (var i = 0; i < classes.Count; i++)
        {
            if (classes[i] != 0 && (i == 0 || classes[i] != classes[i - 1])) text.Append(characters[(int)classes[i] - 1]);
        }

        return text.ToString();
    }

    /// <summary>1 − edits / characters, over all lines.</summary>
    internal static double Accuracy(IEnumerable<string> read, IReadOnlyList<string> expected) =>
        1 - (double)read.Zip(expected).Sum(pair => Edits(pair.First, pair.Second)) / expected.Sum(text => text.Length);

    /// <summary>The least number of characters put in, taken out or changed that make one text the other.</summary>
    internal static int Edits(string one, string other)
    {
        var above = Enumerable.Range(0, other.Length + 1).ToArray();
        foreach (var (i, character) in one.Index())
        {
            var row = new int[other.Length + 1];
            row[0] = i + 1;
            for (var j = 0; j < other.Length; j++)
            {
                row[j + 1] = Math.Min(Math.Min(row[j], above[j + 1]) + 1, above[j] + (character == other[j] ? 0 : 1));
            }

            above = row;
        }

        return above[^1];
    }
}
