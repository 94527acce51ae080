using static TorchSharp.torch.nn;

namespace TensorNets.CSharp;

public static partial class Model
{
    /// <summary>Writes a model with its factorized layers to one safetensors file that <see cref="LoadCompressed"/> reads: every tensor of
    /// its state under its name, and in the metadata what each factorized layer is. The file holds its old content or the new one whole,
    /// whatever happens meanwhile.</summary>
    /// <param name="model">The model.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="TensorNetException">The model is disposed or a factorized layer itself, or the file cannot be written.</exception>
    public static void SaveCompressed(Module model, string path) => ModelFile.save(path, model).OrThrow();

    /// <summary>Turns a freshly made dense model into the compressed one of a file, whole or not at all. An optimizer made before needs
    /// <see cref="Follow(TorchSharp.torch.optim.Optimizer, Module)"/>.</summary>
    /// <param name="freshDense">The dense model, as the compressed one was made from.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="TensorNetException">Lists everything that does not fit; the model is as it was.</exception>
    public static void LoadCompressed(Module freshDense, string path) => ModelFile.load(path, freshDense).OrThrow();
}
