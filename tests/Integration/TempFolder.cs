namespace TensorNets.Integration;

/// <summary>Folders for one test each.</summary>
internal static class TempFolder
{
    /// <summary>Acts in a new folder, which is gone afterwards.</summary>
    internal static void With(Action<string> act) => With(folder =>
    {
        act(folder);
        return 0;
    });

    /// <summary>What a function of a new folder gives; the folder is gone afterwards.</summary>
    internal static T With<T>(Func<string, T> function)
    {
        var folder = Directory.CreateTempSubdirectory("tensornets").FullName;

        try
        {
            return function(folder);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
