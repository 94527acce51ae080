namespace TensorNets.Integration;

/// <summary>Folders for one test each.</summary>
internal static class TempFolder
{
    /// <summary>Acts in a new folder, which is gone afterwards.</summary>
    internal static void With(Action<string> act)
    {
        var folder = Directory.CreateTempSubdirectory("tensornets").FullName;

        try
        {
            act(folder);
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }
}
