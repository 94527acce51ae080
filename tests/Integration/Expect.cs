namespace TensorNets.Integration;

/// <summary>Expectations whose failure names what was found.</summary>
internal static class Expect
{
    /// <summary>Fails with the message unless the condition holds.</summary>
    internal static void True(bool condition, string message)
    {
        if (!condition) throw Fail(message);
    }

    /// <summary>Fails unless the two values are equal.</summary>
    internal static void Equal<T>(T expected, T found)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, found)) throw Fail($"expected {expected}, found {found}");
    }

    /// <summary>Fails unless the two sequences hold equal values in the same order.</summary>
    internal static void SequenceEqual<T>(IEnumerable<T> expected, IEnumerable<T> found)
    {
        if (!expected.SequenceEqual(found)) throw Fail($"expected [{string.Join(", ", expected)}], found [{string.Join(", ", found)}]");
    }

    /// <summary>Fails unless the action throws the given type of exception; returns that exception.</summary>
    internal static TException Throws<TException>(Action action) where TException : Exception
    {
        try
        {
            action();
        }
        catch (TException exception)
        {
            return exception;
        }

        throw Fail($"expected {typeof(TException).Name}, found no exception");
    }

    /// <summary>Ends the test as skipped, for the given reason.</summary>
    internal static void Skip(string reason) => throw new Expecto.IgnoreException(reason);

    private static Expecto.AssertException Fail(string message) => new(message);
}
