using System.Globalization;
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
        TestCase("after the guard the check acquits libtorch's convolutions, before the first tensor and after it", () =>
        {
            foreach (var what in new[] { "guard", "late", "twice" })
            {
                var (code, output, errors) = Run(what);
                Expect.True(code == 0, $"{what}: {code}: {output}\n{errors}");
            }
        }),
        TestCase("huge pages after the first tensor are refused, unless the variable is set", () =>
        {
            if (!OperatingSystem.IsLinux()) Expect.Skip("huge pages are asked for on Linux alone");
            Expect.Equal(2, Run("late pages").Code);
            Expect.Equal(0, Run("late pages", ("THP_MEM_ALLOC_ENABLE", "0")).Code);
        }),
        TestCase("large tensors lie in huge pages where they were asked for, and nowhere else", () =>
        {
            if (!OperatingSystem.IsLinux() || !File.ReadAllText(HugePagesSwitch).Contains("[madvise]", StringComparison.Ordinal))
                Expect.Skip($"{HugePagesSwitch} is not madvise");
            Expect.Equal(1, Run("pages").Code);
            Expect.Equal(0, Run("small pages").Code);
            Expect.Equal(0, Run("pages", ("THP_MEM_ALLOC_ENABLE", "0")).Code);
        }),
    ]);

    /// <summary>What a child process does; its exit code.</summary>
    internal static int Child(string what)
    {
        try
        {
            if (what is "guard" or "twice") Native.Guard();
            if (what is "replace") return SurgeryTests.MegabytesOfReplacing();
            if (what is "quiet") Native.Quiet();
            if (what is "pages") Native.HugePages();
            if (what is "pages" or "small pages") return HasHugePages() ? 1 : 0;
            Convolve();
            if (what is "late" or "twice") Native.Guard();
            if (what is "late pages") Native.HugePages();
            if (what is "guard" or "late" or "twice") Native.Check();
            return what is "plain" or "quiet" ? LogLevel() : 0;
        }
        catch (TensorNetException error) when (error.Errors.All(found => found.IsTooLate))
        {
            return 2;
        }
    }

    /// <summary>The level of libc10's log at which errors are all that is printed.</summary>
    private const int ErrorsOnly = 2;

    private const string HugePagesSwitch = "/sys/kernel/mm/transparent_hugepage/enabled";

    /// <summary>Whether most of a tensor of 64 MiB lies in huge pages.</summary>
    private static bool HasHugePages()
    {
        const long Size = 64;
        using var tensor = ones([Size, 1 << 18], dtype: ScalarType.Float32, device: CPU);
        return File.ReadLines("/proc/self/smaps_rollup")
            .Where(line => line.StartsWith("AnonHugePages:", StringComparison.Ordinal))
            .Any(line => long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) > Size * 512);
    }

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

    /// <summary>Runs this program with one thing to do.</summary>
    internal static (int Code, string Output, string Errors) Run(string what, params (string Name, string Value)[] environment) =>
        Command.Run(AppContext.BaseDirectory, "dotnet", [typeof(NativeTests).Assembly.Location, "--native", what], environment);
}
