using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using Expecto;
using k8s;
using k8s.Models;
using TensorNets.Tool;
using YamlDotNet.Core;
using static Expecto.CSharp.Runner;

namespace TensorNets.Integration.Tool;

/// <summary>The Job of Kubernetes in docs/samples/cluster, read as the client library of Kubernetes has it, without a cluster.</summary>
internal static partial class ManifestTests
{
    internal static Test All => TestList("manifest", [
        TestCase("the manifest is a Job with an index for each share", IsIndexed),
        TestCase("a misspelt field anywhere in it is refused", RefusesMisspelt),
        TestCase("each index does its share, and together they are the file of one run", DoesShares),
    ]);

    private static string Text([CallerFilePath] string here = "") =>
        File.ReadAllText(Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "docs", "samples", "cluster", "job.yaml"));

    /// <summary>The Job of a manifest; a field that a Job has not, or has twice, is an error.</summary>
    private static V1Job Read(string text) => KubernetesYaml.Deserialize<V1Job>(text, strict: true);

    private static void IsIndexed()
    {
        var job = Read(Text());
        Expect.Equal((V1Job.KubeGroup + "/" + V1Job.KubeApiVersion, V1Job.KubeKind), (job.ApiVersion, job.Kind));
        Expect.Equal("Indexed", job.Spec.CompletionMode);
        Expect.True(job.Spec is { Completions: > 1, Parallelism: > 0, BackoffLimitPerIndex: > 0 }, "no indices, or no tries of each");
        var pod = job.Spec.Template.Spec;
        Expect.True(pod.RestartPolicy == "Never", "a failure policy wants pods that are not restarted");
        var worker = pod.Containers.Single();
        Expect.Equal($"{job.Spec.Completions}", worker.Env.Single(variable => variable.Name == "SHARES").Value);
        Expect.SequenceEqual(pod.Volumes.Select(volume => volume.Name), worker.VolumeMounts.Select(mount => mount.Name));
        var codes = job.Spec.PodFailurePolicy.Rules.Select(rule => rule.OnExitCodes).OfType<V1PodFailurePolicyOnExitCodesRequirement>()
            .Single();
        Expect.Equal((worker.Name, "In"), (codes.ContainerName, codes.OperatorProperty));
        Expect.SequenceEqual([ExitCode.Usage], codes.Values);
    }

    /// <summary>Every field but the names of resources, which are a cluster's own.</summary>
    private static void RefusesMisspelt()
    {
        var text = Text();
        var fields = Field().Matches(text).Select(match => match.Groups["name"]).Where(name => name.Value is not ("cpu" or "memory"))
            .ToList();
        Expect.True(fields.Count > 40, $"{fields.Count} fields");
        foreach (var name in fields)
        {
            var misspelt = text.Insert(name.Index + name.Length, "x");
            var error = Expect.Throws<YamlException>(() => Read(misspelt));
            Expect.True($"{error}".Contains($"{name.Value}x"), $"{name.Value}: {error.Message}");
        }
    }

    [GeneratedRegex(@"^ *(- )?(?<name>[a-zA-Z]+):", RegexOptions.Multiline)]
    private static partial Regex Field();

    private static void DoesShares()
    {
        if (OperatingSystem.IsWindows()) Expect.Skip("the container's command is one of a POSIX shell");
        using var files = new Files();
        var (dense, work) = (files.Dense("model.safetensors"), files.At("work"));
        Said.Of("plan", dense, "--ratio", "2", "-o", files.At("plan.json")).Went();
        var job = Read(Text());
        for (var index = 0; index < job.Spec.Completions; index++)
        {
            // The volume is a folder here, and the program this one.
            var words = Words(files, job.Spec.Template.Spec.Containers[0], index)
                .ConvertAll(word => word.Replace("/data/", $"{files.Folder}/"));
            Expect.SequenceEqual(["/tool/TensorNets.Tool.dll", "compress"], words.Take(2));
            Expect.Equal($"{index + 1}/{job.Spec.Completions}", words[words.IndexOf("--shard") + 1]);
            Said.Of([.. words.Skip(1)]).Went();
        }

        Said.Of("merge", "--work", work, "-o", files.At("merged.safetensors")).Went();
        Said.Of("compress", dense, "--plan", files.At("plan.json"), "-o", files.At("whole.safetensors")).Went();
        Expect.SequenceEqual(File.ReadAllBytes(files.At("whole.safetensors")), File.ReadAllBytes(files.At("merged.safetensors")));
    }

    /// <summary>What the container's command gives to dotnet in the pod of an index, word by word.</summary>
    private static List<string> Words(Files files, V1Container worker, int index)
    {
        var folder = Directory.CreateDirectory(files.At($"bin{index}")).FullName;
        var program = Path.Combine(folder, "dotnet");
        File.WriteAllText(program, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n");
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        var start = new ProcessStartInfo(worker.Command[0], [.. worker.Command.Skip(1), .. worker.Args]) { RedirectStandardOutput = true };
        foreach (var variable in worker.Env) start.Environment[variable.Name] = variable.Value;
        start.Environment["JOB_COMPLETION_INDEX"] = $"{index}";
        start.Environment["PATH"] = $"{folder}:{start.Environment["PATH"]}";
        using var process = Process.Start(start)!;
        var said = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Expect.Equal(0, process.ExitCode);
        return [.. said.TrimEnd().Split('\n')];
    }
}
