using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

public static partial class Model
{
    /// <summary>Writes a factorized layer to a file (safetensors) that <see cref="Load"/> reads with no knowledge of the original. The file
    /// holds its old content or the new one whole, whatever happens meanwhile.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="TensorNetException">The file cannot be written.</exception>
    public static void Save(FactorizedLayer layer, string path) => LayerFile.save(path, layer).OrThrow();

    /// <summary>The factorized layer in a file.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="TensorNetException">Lists what is wrong with the file.</exception>
    public static FactorizedLayer Load(string path) => LayerFile.load(path).OrThrow();

    /// <summary>Copies a state into the parameters and buffers of a module, whole or not at all. TorchSharp's own load_state_dict of a
    /// model stops at the first fault and does not ask the factorized layers in it.</summary>
    /// <param name="model">The module.</param>
    /// <param name="state">Tensors by key; they are not disposed.</param>
    /// <exception cref="TensorNetException">Lists every missing, extra and misshapen key.</exception>
    public static void LoadState(Module model, IReadOnlyDictionary<string, Tensor> state) => StateDict.load(state, model).OrThrow();

    /// <summary>The same from a file that TorchSharp's save has written.</summary>
    /// <param name="model">The module.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="TensorNetException">Lists what is wrong with the file, and every missing, extra and misshapen key.</exception>
    public static void LoadState(Module model, string path) => StateDict.loadFile(path, model).OrThrow();

    /// <summary>Writes the parameters and buffers of a module as TorchSharp's save does, but the file holds its old content or the new one
    /// whole, whatever happens meanwhile.</summary>
    /// <param name="model">The module.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="TensorNetException">The file cannot be written.</exception>
    public static void SaveState(Module model, string path) => StateDict.saveFile(path, model).OrThrow();
}
