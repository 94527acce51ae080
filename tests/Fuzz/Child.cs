using System.Diagnostics;

namespace TensorNets.Fuzz;

/// <summary>The process in which inputs are read: it says which one it begins, and what was wrong with it.</summary>
internal static class Child
{
    /// <summary>The most that a reader may take for one input.</summary>
    internal const double Seconds = 5;

    // What one input may add to the peak of address space: less than a reservation for any damaged size that is worth the name.
    private const long Reserved = 256L << 20;

    /// <summary>Input i of a reader.</summary>
    internal static byte[] Input(IReader reader, int seed, int i) => reader.Input(new Random(unchecked((seed * 1_000_003) + i)));

    internal static int Run(IReader reader, int seed, int from, int count)
    {
        using var _ = reader;
        var (accepted, largest) = (0, 0.0);

        // What is made once, at the first call, is no input's.
        for (var i = 0; i < 20; i++) One(reader, reader.Input(new Random(i)), out var _, out var _);
        var peak = Peak();

        for (var i = from; i < from + count; i++)
        {
            var input = Input(reader, seed, i);
            Console.WriteLine($"begin {i}");
            if (One(reader, input, out var trouble, out var multiple)) accepted++;
            largest = Math.Max(largest, multiple);
            var now = Peak();
            if (now > peak + Reserved) trouble ??= $"memory: {(now - peak) >> 20} MB reserved for {input.Length} bytes";
            peak = now;
            if (trouble is not null) Console.WriteLine($"trouble {i} {trouble.ReplaceLineEndings(" ")}");
        }

        Console.WriteLine($"end {accepted} {largest:F0}");
        return 0;
    }

    /// <summary>Whether an input was accepted, what was wrong with how it was read, and how many times its size was allocated beyond the
    /// fixed amount.</summary>
    private static bool One(IReader reader, byte[] input, out string? trouble, out double multiple)
    {
        var accepted = false;
        trouble = null;
        var before = GC.GetAllocatedBytesForCurrentThread();
        var start = Stopwatch.GetTimestamp();

        try
        {
            reader.Read(input);
            accepted = true;
        }
        catch (TensorNetException)
        {
        }
        catch (Exception problem)
        {
            trouble = $"untyped: {problem.GetType().Name}: {problem.Message}";
        }

        var seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        multiple = Math.Max(0, allocated - reader.Fixed) / (double)Math.Max(1, input.Length);
        if (seconds > Seconds) trouble ??= $"slow: {seconds:F1} s for {input.Length} bytes";
        if (multiple > reader.Multiple) trouble ??= $"memory: {allocated} bytes allocated for {input.Length} bytes";

        try
        {
            var wrong = accepted ? reader.AfterAcceptance() : reader.AfterRefusal();
            if (wrong is not null) trouble ??= $"changed: {wrong}";
        }
        catch (Exception problem)
        {
            trouble ??= $"changed: {problem.GetType().Name}: {problem.Message}";
        }

        return accepted;
    }

    /// <summary>The peak of the process's address space; 0 where the system does not tell.</summary>
    private static long Peak()
    {
        if (!OperatingSystem.IsLinux()) return 0;
        var line = File.ReadLines("/proc/self/status").First(line => line.StartsWith("VmPeak:", StringComparison.Ordinal));
        return long.Parse(line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1]) << 10;
    }
}
