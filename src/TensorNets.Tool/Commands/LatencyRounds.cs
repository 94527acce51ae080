using System.Globalization;
using TensorNets.CSharp;
using TensorNets.Onnx;
using TensorNets.Tool.Output;

namespace TensorNets.Tool.Commands;

/// <summary>Plans under a budget of latency until the whole network is as fast as was asked for, not its layers alone: what stands between
/// them, and what a runtime makes of their neighbours, is in no layer's time.</summary>
internal static class LatencyRounds
{
    private const int Most = 6;

    /// <summary>What layers save in a network, as a part of what they save by themselves, is taken to be within these: beyond them it is
    /// the clock that errs.</summary>
    private const double LeastYield = .25, MostYield = 2;

    /// <summary>A plan may take so many times what its fastest choices take, which sums in another order round otherwise.</summary>
    private const double Rounding = 1 + 1e-9;

    /// <summary>Layers that a refusal names.</summary>
    private const int Named = 3;

    /// <summary>The first plan with which the network is so many times faster; after the most rounds the fastest plan that was found, which
    /// is then said.</summary>
    /// <param name="terminal">Where each round is told.</param>
    /// <param name="plan">A plan whose candidates have times.</param>
    /// <param name="ratio">So many times faster the network is to be.</param>
    /// <param name="time">What a network takes, dense and by a plan.</param>
    /// <exception cref="ToolException">The fastest candidates are not fast enough; it names the layers that take longest.</exception>
    internal static CompressionPlan Run(Terminal terminal, CompressionPlan plan, double ratio, Func<CompressionPlan, OnnxTimes> time)
    {
        var (best, least) = (plan, double.PositiveInfinity);
        for (var round = 1; round <= Most; round++)
        {
            var times = time(plan);
            terminal.ErrorWriter.WriteLine(
                $"round {round}: layers planned at {Text.Real(plan.Latency)} of {Text.Real(plan.DenseLatency)} ms; the network takes "
                + $"{Text.Real(times.After)} of {Text.Real(times.Before)} ms, {Times(times.Ratio)} times faster");
            if (times.Ratio * ratio <= 1) return plan;
            if (times.Ratio < least) (best, least) = (plan, times.Ratio);
            if (round < Most) plan = Model.Plan(plan, Budgets.Latency(Next(plan, ratio, times)));
        }

        terminal.ErrorWriter.WriteLine(
            $"{Most} rounds did not suffice: the network is to be {Text.Real(ratio)} times faster; by the fastest plan that was found, "
            + $"which is taken, it is {Times(least)} times faster.");
        return best;
    }

    /// <summary>The time of the layers with which the network takes what is asked for, if they go on to save what they have saved so
    /// far.</summary>
    private static double Next(CompressionPlan plan, double ratio, OnnxTimes times)
    {
        var lack = (times.Ratio - (1 / ratio)) * times.Before;
        var fastest = plan.Layers.Sum(Least);
        if (plan.Latency - (lack / MostYield) < fastest) throw OutOfReach(plan, ratio, times);
        var saved = (1 - times.Ratio) * times.Before / (plan.DenseLatency - plan.Latency);
        var yield = double.IsFinite(saved) ? Math.Clamp(saved, LeastYield, MostYield) : 1;
        return Math.Max(plan.Latency - (lack / yield), fastest * Rounding);
    }

    /// <summary>The time of a layer's fastest choice.</summary>
    private static double Least(PlannedLayer layer) =>
        layer.Candidates.Where(candidate => double.IsFinite(candidate.Latency) && !double.IsNaN(candidate.Damage))
            .Select(candidate => candidate.Latency).Append(layer.Latency).Min();

    private static ToolException OutOfReach(CompressionPlan plan, double ratio, OnnxTimes times)
    {
        var saved = plan.Latency - plan.Layers.Sum(Least);
        var reached = times.Ratio - (saved / times.Before);
        var slowest = plan.Layers.OrderByDescending(Least).Take(Named).Select(layer =>
            $"'{layer.Path}' {Text.Real(Least(layer))} of {Text.Real(layer.Latency)} ms"
            + (Least(layer) < layer.Latency ? "" : ", no faster than dense"));
        return new(
            $"--latency {Text.Real(ratio)} is out of reach: with the fastest candidates the network is about {Times(reached)} times "
            + $"faster, and takes most in {string.Join("; ", slowest)}",
            "ask for less, or let it plan the first and last layer (--ends) or other formats (--format)");
    }

    private static string Times(double ratio) => (1 / ratio).ToString("F2", CultureInfo.InvariantCulture);
}
