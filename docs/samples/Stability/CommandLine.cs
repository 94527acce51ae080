using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using static TensorNets.Samples.Stability.CommandOptions;

namespace TensorNets.Samples.Stability;

/// <summary>The command line: one option for each value of <see cref="Options"/>.</summary>
public static class CommandLine
{
    /// <summary>The command, which runs <paramref name="run"/> with what was given and ends with its exit code.</summary>
    public static RootCommand Create(Func<Options, int> run)
    {
        var defaults = new Options();
        var seeds = new Option<IReadOnlyList<int>>("--seeds")
        {
            Description = "A count (3 is seeds 1, 2 and 3) or a list (4,7,9; one seed alone: 7,).",
            CustomParser = result => Parse(result, SeedsOf, "a count of at least 1, or whole numbers between commas"),
            DefaultValueFactory = _ => defaults.Seeds,
        };
        var rates = new Option<IReadOnlyList<double>>("--learning-rates")
        {
            Description = "Learning rates of fine-tuning, between commas. With several, the largest at which a variant "
                + "does not diverge is its stability.",
            CustomParser = result => Parse(result, RatesOf, "numbers above 0 between commas"),
            DefaultValueFactory = _ => defaults.LearningRates,
        };
        var path = With("--path", "The convolution to replace.", defaults.Path);
        var format = With("--format", "The format of the replacement.", defaults.Format);
        var rank = AtLeastOne("--rank", "The rank of the replacement; by default that of the format.");
        var sweeps = AtLeastOne("--sweeps", $"The most sweeps of least squares (default {defaults.Sweeps}).");
        var correctionSweeps = AtLeastOne("--correction-sweeps", $"The most sweeps of the correction (default {defaults.CorrectionSweeps}).");
        var randomStart = With("--random-start", "Start least squares from noise instead of singular value decompositions.", false);
        var data = With<string?>("--data", $"A folder with four IDX files, instead of {FashionMnist.DefaultFolder} or, without that, the subset in the program.", null);
        var output = With("--output", "The folder for the picture and the numbers.", defaults.Output);
        var steps = AtLeastOne("--steps", $"Steps of dense training (default {defaults.Steps}).");
        var fineTuneSteps = AtLeastOne("--fine-tune-steps", $"Steps of each fine-tuning (default {defaults.FineTuneSteps}).");
        var images = AtLeastOne("--images", $"Images to train on (default {defaults.Images}).");
        var testImages = AtLeastOne("--test-images", $"Images to measure accuracy on (default {defaults.TestImages}).");
        var norm = With("--norm", "What stands behind each convolution.", defaults.Norm);
        var penalty = With("--penalty", "The penalty c·S at the start of fine-tuning; it fixes c.", defaults.Penalty);
        penalty.Validators.Add(result =>
        {
            if (result.Tokens.Count > 0 && result.GetValueOrDefault<double>() is not (>= 0 and < double.PositiveInfinity))
            {
                result.AddError("--penalty: expected a number of at least 0.");
            }
        });
        var draws = AtLeastOne("--noise-draws", $"Draws of noise at each level (default {defaults.NoiseDraws}).");
        var threads = AtLeastOne("--threads", $"Threads of libtorch (default {defaults.Threads}).");
        var quick = With("--quick", "A run of seconds that shows that everything works; its numbers say nothing.", false);

        var command = new RootCommand(
            "Replaces one convolution of a trained net by tensor networks of equal rank and measures which of them bears rounding, noise "
            + "and fine-tuning.")
        {
            seeds, rates, path, format, rank, sweeps, correctionSweeps, randomStart, data, output, steps, fineTuneSteps, images, testImages, norm, penalty, draws, threads, quick,
        };
        command.SetAction(parsed =>
        {
            var start = parsed.GetValue(quick) ? Options.Quick : defaults;
            return run(start with
            {
                Seeds = parsed.GetValue(seeds) ?? start.Seeds,
                LearningRates = parsed.GetValue(rates) ?? start.LearningRates,
                Path = parsed.GetValue(path) ?? start.Path,
                Format = parsed.GetValue(format),
                Rank = parsed.GetValue(rank),
                Sweeps = parsed.GetValue(sweeps) ?? start.Sweeps,
                CorrectionSweeps = parsed.GetValue(correctionSweeps) ?? start.CorrectionSweeps,
                RandomStart = parsed.GetValue(randomStart),
                Data = parsed.GetValue(data),
                Output = parsed.GetValue(output) ?? start.Output,
                Steps = parsed.GetValue(steps) ?? start.Steps,
                FineTuneSteps = parsed.GetValue(fineTuneSteps) ?? start.FineTuneSteps,
                Images = parsed.GetValue(images) ?? start.Images,
                TestImages = parsed.GetValue(testImages) ?? start.TestImages,
                Norm = parsed.GetValue(norm),
                Penalty = parsed.GetValue(penalty),
                NoiseDraws = parsed.GetValue(draws) ?? start.NoiseDraws,
                Threads = parsed.GetValue(threads) ?? start.Threads,
            });
        });
        return command;
    }

    private static IReadOnlyList<T>? Parse<T>(ArgumentResult result, Func<string, IReadOnlyList<T>?> parse, string expected)
    {
        var found = string.Join(",", result.Tokens.Select(token => token.Value));
        var values = parse(found);
        if (values is null)
        {
            result.AddError($"found '{found}', expected {expected}.");
        }

        return values;
    }

    private static IReadOnlyList<int>? SeedsOf(string text)
    {
        var parts = text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        var seeds = new List<int>();
        foreach (var part in parts)
        {
            if (!int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var seed))
            {
                return null;
            }

            seeds.Add(seed);
        }

        return text.Contains(',') ? (seeds.Count > 0 ? seeds : null)
            : seeds is [>= 1] ? [.. Enumerable.Range(1, seeds[0])] : null;
    }

    private static IReadOnlyList<double>? RatesOf(string text)
    {
        var rates = new List<double>();
        foreach (var part in text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            if (!double.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out var rate)
                || rate is not (> 0 and < double.PositiveInfinity))
            {
                return null;
            }

            rates.Add(rate);
        }

        return rates.Count > 0 ? [.. rates.Order()] : null;
    }
}
