namespace TensorNets.Integration.Packages;

/// <summary>Something to dispose that is made when it is first asked for.</summary>
internal sealed class Lazily<T>(Func<T> make) : IDisposable
    where T : IDisposable
{
    private readonly Lazy<T> _value = new(make);

    internal T Value => _value.Value;

    public void Dispose()
    {
        if (_value.IsValueCreated) _value.Value.Dispose();
    }
}
