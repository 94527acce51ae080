namespace TensorNets.CSharp;

/// <summary>The native libraries under TorchSharp: what they print, whether they compute rightly on this machine, and the remedy where they
/// do not.</summary>
public static class Native
{
    /// <summary>From now on libtorch and NNPACK print errors only, for the whole process.</summary>
    public static void Quiet() => NativeModule.quiet();

    /// <summary>Throws where libtorch cannot be loaded, with the line to add, or where its float32 convolutions are wrong on this
    /// processor, with the remedy. It takes less than half a second, once.</summary>
    /// <exception cref="TensorNetException">NativeLibrary or WrongConvolutions.</exception>
    public static void Check() => NativeModule.check().OrThrow();

    /// <summary>Where libtorch's float32 convolutions are wrong on this processor, switches oneDNN off, for the whole process and from now
    /// on: they are right then, and dense ones take about three times as long; large ones far longer without <see cref="HugePages"/>.
    /// Whatever of this library runs a model or makes a layer that convolves calls it; dense networks of a program's own need it before
    /// their first convolution.</summary>
    /// <exception cref="TensorNetException">NativeLibrary, or WrongConvolutions where this libtorch cannot do without oneDNN.</exception>
    public static void Guard() => NativeModule.guard().OrThrow();

    /// <summary>Sets THP_MEM_ALLOC_ENABLE=1 in the process's native environment, on Linux: tensors of 2 MiB and more lie in huge pages,
    /// which saves up to a third of the time on virtual machines. The first call of the program's that has to do with torch.</summary>
    /// <exception cref="TensorNetException">TooLate: libtorch is loaded already.</exception>
    public static void HugePages() => NativeModule.hugePages().OrThrow();
}
