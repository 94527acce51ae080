using Spectre.Console;
using TensorNets.CSharp;
using TorchSharp;

namespace TensorNets.Samples.Stability;

/// <summary>The program: a run with its progress, tables, picture and file of numbers.</summary>
public static class Application
{
    /// <summary>Runs what the options ask for; 0 if it worked, 1 if the dataset, the path or the format is at fault.</summary>
    public static int Run(Options options, IAnsiConsole console)
    {
        Native.Quiet();
        torch.set_num_threads(options.Threads);
        try
        {
            Native.Guard();
            var dataset = FashionMnist.Load(options.Data);
            if (FashionMnist.Shortage(dataset, options.Images, options.TestImages) is { } shortage)
            {
                console.WriteLine(shortage);
            }

            var run = LiveProgress.Run(console, progress => new Experiment(options, progress).Run(dataset));
            Report.Write(console, run);
            Directory.CreateDirectory(options.Output);
            var picture = Path.Combine(options.Output, "stability.png");
            var numbers = Path.Combine(options.Output, "stability.json");
            Plots.Save(run, picture);
            Numbers.Save(run, numbers);
            console.WriteLine();
            console.WriteLine($"Picture: {picture}");
            console.WriteLine($"Numbers: {numbers}");
            return 0;
        }
        catch (Exception error) when (error is DatasetException or TensorNetException)
        {
            Console.Error.WriteLine(error.Message);
            return 1;
        }
    }
}
