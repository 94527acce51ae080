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

    /// <summary>Sets ONEDNN_MAX_CPU_ISA=AVX2 in the process's native environment, so that libtorch's convolutions are right; dense ones
    /// take about 1.4 times as long. The first call of the program's that has to do with torch.</summary>
    /// <exception cref="TensorNetException">TooLate: libtorch is loaded already.</exception>
    public static void Guard() => NativeModule.guard().OrThrow();
}
