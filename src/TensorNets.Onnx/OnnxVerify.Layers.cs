using static TorchSharp.torch;

namespace TensorNets.Onnx;

public static partial class OnnxVerify
{
    /// <summary>How long each layer takes by itself in ONNX Runtime, dense and as the chain of nodes that it would become, on noise of the
    /// shape that the plan has: those whose ratio is above 1 are better left dense (<see cref="OnnxModel.With"/>).</summary>
    /// <param name="model">The original.</param>
    /// <param name="report">What was compressed of its source.</param>
    /// <param name="plan">The plan, made with inputs.</param>
    /// <param name="threads">Threads of ONNX Runtime.</param>
    /// <param name="pairs">Runs of both, one after the other, whose median is told.</param>
    /// <returns>Times by the paths of layers; of one that is applied several times, those of the first.</returns>
    /// <exception cref="TensorNetException">The report or the plan is none for this model; ONNX Runtime refuses a layer.</exception>
    /// <example><code>var times = OnnxVerify.LayerTimes(model, report, plan);</code></example>
    public static IReadOnlyDictionary<string, OnnxTimes> LayerTimes(
        OnnxModel model, CompressReport report, CompressionPlan plan, int threads = 1, int pairs = 11)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(report);
        ArgumentNullException.ThrowIfNull(plan);
        if (pairs < 1) throw Errors.Unsupported("The pairs", $"{pairs}", "1 or more");
        var shapes = plan.Layers.ToDictionary(planned => planned.Path, planned => planned.Inputs[0]);
        var times = new Dictionary<string, OnnxTimes>();
        foreach (var made in report.Layers)
        {
            if (!shapes.TryGetValue(made.Path, out var shape)) throw Errors.Unsupported("The layer", made.Path, "one of the plan");
            using var timer = new LayerTimer(model, made.Path, shape, (threads, pairs));
            using var network = made.Layer.Network();
            times[made.Path] = timer.Against(network);
        }

        return times;
    }

    /// <summary>What measures candidates of a plan in ONNX Runtime, for a budget of latency: each layer by itself, dense and as the chain
    /// of nodes of each candidate, on noise of the shapes that the plan has.</summary>
    /// <param name="model">The model that is planned.</param>
    /// <param name="threads">Threads of ONNX Runtime.</param>
    /// <param name="pairs">Runs of dense layer and candidate, one after the other, whose median ratio counts.</param>
    /// <returns>Milliseconds for all inputs of a layer, dense, then of each candidate; NaN for one that has no chain.</returns>
    /// <example><code>var settings = new PlanSettings(Latencies: OnnxVerify.CandidateTimes(model));</code></example>
    public static Func<PlannedLayer, IReadOnlyList<PlanCandidate>, IReadOnlyList<double>> CandidateTimes(
        OnnxModel model, int threads = 1, int pairs = 7)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (pairs < 1) throw Errors.Unsupported("The pairs", $"{pairs}", "1 or more");
        return (layer, candidates) =>
        {
            var sums = new double[candidates.Count + 1];
            foreach (var calls in layer.Inputs.GroupBy(shape => string.Join(' ', shape)))
            {
                using var timer = new LayerTimer(model, layer.Path, calls.First(), (threads, pairs));
                var times = Times(timer, layer, candidates);
                for (var i = 0; i < sums.Length; i++) sums[i] += calls.Count() * times[i];
            }

            return sums;
        };
    }

    private static double[] Times(LayerTimer timer, PlannedLayer layer, IReadOnlyList<PlanCandidate> candidates)
    {
        var dense = timer.Dense();
        var times = candidates.Select(candidate =>
        {
            var spec = PlanMaking.spec(candidate.Axes, candidate.Format, layer.Geometry);
            if (spec.IsError || LayerStages.check(layer.Geometry, spec.ResultValue).IsError) return double.NaN;
            using var network = NetworkModule.random(ScalarType.Float32, 1, spec.ResultValue);
            return dense * timer.Against(network).Ratio;
        });
        return [dense, .. times];
    }
}
