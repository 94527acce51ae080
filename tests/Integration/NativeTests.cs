using System.Runtime.InteropServices;
using Expecto;
using TensorNets.CSharp;
using static Expecto.CSharp.Runner;
using static TorchSharp.torch;

namespace TensorNets.Integration;

/// <summary>What a program does about the native libraries, each in a process of its own, for they are loaded once.</summary>
internal static class NativeTests
{
    internal static Test All => TestList("libraries under torch", [
        TestCase("a program that is quiet raises the level of libc10's log to errors and prints nothing of libtorch's or NNPACK's", () =>
        {
            Expect.True(Run("plain").Code < ErrorsOnly, "libtorch is quiet already");
            var (code, output, errors) = Run("quiet");
            Expect.True(code == ErrorsOnly && errors.Length == 0, $"{code}: {output}\n{errors}");
        }),
        TestCase("after the guard libtorch's engine takes AVX2, and the check acquits its convolutions", () =>
        {
            var (code, output, errors) = Run("guard", ("ONEDNN_VERBOSE", "1"));
            Expect.Equal(0, code);
            var engine = (output + errors).Split('\n').Where(line => line.Contains("cpu,isa:", StringComparison.Ordinal)).ToList();
            if (engine.Count == 0) Expect.Skip("libtorch's engine does not say which instructions it takes");
            Expect.True(engine.All(line => line.Contains("AVX2") && !line.Contains("AVX-512")), engine[0]);
        }),
        TestCase("a guard after the first tensor is refused, and one that was called before it may be called again", () =>
        {
            Expect.Equal(2, Run("late").Code);
            Expect.Equal(0, Run("twice").Code);
            Expect.Equal(0, Run("late", ("ONEDNN_MAX_CPU_ISA", "avx2")).Code);
        }),
    ]);

    /// <summary>What a child process does; its exit code.</summary>
    internal static int Child(string what)
    {
        try
        {
            if (what is "guard" or "twice") Native.Guard();
            if (what is "quiet") Native.Quiet();
            Convolve();
            if (what is "guard") Native.Check();
            if (what is "late" or "twice") Native.Guard();
            return what is "plain" or "quiet" ? LogLevel() : 0;
        }
        catch (TensorNetException error) when (error.Errors.All(found => found.IsTooLate))
        {
            return 2;
        }
    }

    /// <summary>The level of libc10's log at which errors are all that is printed.</summary>
    private const int ErrorsOnly = 2;

    private static int LogLevel()
    {
        var name = OperatingSystem.IsWindows() ? "c10.dll" : OperatingSystem.IsMacOS() ? "libc10.dylib" : "libc10.so";
        return Marshal.ReadInt32(NativeLibrary.GetExport(NativeLibrary.Load(name), "FLAGS_caffe2_log_level"));
    }

    private static void Convolve()
    {
        using var scope = NewDisposeScope();
        var images = ones([4, 3, 8, 8], dtype: ScalarType.Float32, device: CPU);
        var weight = ones([4, 3, 3, 3], dtype: ScalarType.Float32, device: CPU);
        for (var i = 0; i < 5; i++) nn.functional.conv2d(images, weight);
    }

    private static (int Code, string Output, string Errors) Run(string what, params (string Name, string Value)[] environment) =>
        Command.Run(AppContext.BaseDirectory, "dotnet", [typeof(NativeTests).Assembly.Location, "--native", what], environment);
}
