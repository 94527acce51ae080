using Microsoft.FSharp.Collections;
using static TorchSharp.torch;

namespace TensorNets.CSharp;

/// <summary>Files of compressed models without the class of the model. <see cref="SafeTensorFile"/> has files of tensors.</summary>
public static class StateFiles
{
    /// <summary>The factorized layers in the file of a compressed model; the caller disposes them.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The layers with their paths.</returns>
    /// <exception cref="TensorNetException">There is no such file, or it is not of a compressed model.</exception>
    public static IReadOnlyList<StoredLayer> Layers(string path) => StateFile.layers(path).OrThrow();

    /// <summary>How far the tensors of one file are from those of another; a factorized layer counts as the dense weight that it contracts
    /// to.</summary>
    /// <param name="first">A file.</param>
    /// <param name="second">Another one.</param>
    /// <returns>The differences, tensor by tensor.</returns>
    /// <exception cref="TensorNetException">A file is missing or wrong.</exception>
    public static StateDifference Compare(string first, string second) => StateComparison.files(first, second).OrThrow();

    /// <summary>Writes a state in which factorized layers have taken the place of dense ones; <see cref="Model.LoadCompressed"/> turns the
    /// dense model into the compressed one.</summary>
    /// <param name="path">The file.</param>
    /// <param name="layers">The factorized layers; not disposed.</param>
    /// <param name="others">All other tensors of the model's state; not disposed.</param>
    /// <param name="metadata">What else the file says; null: nothing.</param>
    /// <exception cref="TensorNetException">A layer has no path, a tensor cannot be written, or the file cannot.</exception>
    public static void SaveCompressed(
        string path,
        IReadOnlyList<StoredLayer> layers,
        IReadOnlyDictionary<string, Tensor> others,
        IReadOnlyDictionary<string, string>? metadata = null) =>
        StateFile.save(path, Pairs(metadata), [.. layers], Pairs(others)).OrThrow();

    /// <summary>Writes the state of a dense file in which layers that are in files of their own, as in a work folder, have taken the place
    /// of dense ones: as <see cref="SaveCompressed"/> of these, to the bit, with one tensor in memory at a time.</summary>
    /// <param name="path">The file.</param>
    /// <param name="dense">The safetensors file with the state of the dense model.</param>
    /// <param name="layers">The factorized layers.</param>
    /// <exception cref="TensorNetException">A layer has no path, a file is missing or wrong, or the file cannot be written.</exception>
    public static void Merge(string path, string dense, IReadOnlyList<LayerInFile> layers) =>
        StateFile.merge(path, dense, [.. layers]).OrThrow();

    private static FSharpList<Tuple<string, T>> Pairs<T>(IReadOnlyDictionary<string, T>? values) =>
        [.. (values ?? new Dictionary<string, T>()).Select(pair => Tuple.Create(pair.Key, pair.Value))];
}
