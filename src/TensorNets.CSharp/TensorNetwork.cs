using static TorchSharp.torch;

namespace TensorNets.CSharp;

/// <summary>Networks and their tensors: factorize, balance, correct, contract. Errors arrive as one <see cref="TensorNetException"/> that
/// lists all of them.</summary>
public static partial class TensorNetwork
{
    /// <summary>The network that a text describes, as in <c>"sr, dr, tr -> sdt | s=64 d=9 t=64 r=48"</c>.</summary>
    /// <param name="text">The network.</param>
    /// <param name="dimensions">Dimensions of axes that the text gives none for.</param>
    /// <exception cref="TensorNetException">Lists every fault of the text, each with its position.</exception>
    public static Spec Parse(string text, IReadOnlyDictionary<string, int>? dimensions = null) =>
        SpecModule
            .parse([.. (dimensions ?? new Dictionary<string, int>()).Select(pair => Tuple.Create(pair.Key, pair.Value))], text)
            .OrThrow();

    /// <summary>The network as text, with dimensions; <see cref="Parse"/> reads it.</summary>
    /// <param name="spec">The network.</param>
    public static string Print(Spec spec) => SpecModule.print(spec);

    /// <summary>The network as a picture, an SVG element: a circle for each core, a line for each axis with its name and
    /// dimension.</summary>
    /// <param name="spec">The network.</param>
    public static string Diagram(Spec spec) => SpecDiagram.svg(spec);

    /// <summary>The network as versioned JSON, for saved models.</summary>
    /// <param name="spec">The network.</param>
    public static string ToJson(Spec spec) => SpecJson.write(spec);

    /// <summary>The network that a JSON text made by <see cref="ToJson"/> describes.</summary>
    /// <param name="json">The text.</param>
    /// <exception cref="TensorNetException">Lists every fault of the text.</exception>
    public static Spec FromJson(string json) => SpecJson.read(json).OrThrow();

    /// <summary>The network of a format over a tensor of the given shape.</summary>
    /// <param name="format">The format, from <see cref="Formats"/>.</param>
    /// <param name="shape">The dimensions of the tensor.</param>
    /// <exception cref="TensorNetException">The format does not fit the shape.</exception>
    public static Spec Of(Format format, params IReadOnlyList<int> shape) => FormatModule.spec([.. shape], format).OrThrow();

    /// <summary>A network of the given tensors.</summary>
    /// <param name="spec">The network.</param>
    /// <param name="cores">The tensor of each core by name; the network disposes them.</param>
    /// <exception cref="TensorNetException">Lists every core that is missing or of another shape, dtype or device.</exception>
    public static Network Create(Spec spec, IReadOnlyDictionary<string, Tensor> cores) =>
        NetworkModule.create(spec, cores.Select(pair => Tuple.Create(pair.Key, pair.Value))).OrThrow();

    /// <summary>A network of white noise, scaled so that the entries of its tensor have variance 1.</summary>
    /// <param name="spec">The network.</param>
    /// <param name="seed">The seed of the numbers.</param>
    /// <param name="dtype">Float64, Float32, BFloat16 or Float16.</param>
    /// <exception cref="TensorNetException">Another dtype.</exception>
    public static Network Random(Spec spec, ulong seed = 0, ScalarType dtype = ScalarType.Float32) =>
        NetworkModule.random(dtype, seed, spec);

    /// <summary>The order in which a network is contracted, as a table: each step's FLOPs and entries.</summary>
    /// <param name="spec">The network.</param>
    public static string Explain(Spec spec) => PlanModule.explain(PlanModule.make(Order.Auto, spec));

    /// <summary>The kernel tensor of the weight of a convolution without groups.</summary>
    /// <param name="weight">[out, in, height, width], or any other number of kernel dimensions up to three.</param>
    /// <returns>[in, kernel positions, out].</returns>
    /// <exception cref="TensorNetException">A weight of another number of axes.</exception>
    public static Tensor KernelOfWeight(Tensor weight) => ConvGeometryModule.kernelOfWeight(ConvGeometryModule.ofWeight(weight), weight);

    /// <summary>The X of least norm with ‖X A − B‖ ≤ δ.</summary>
    /// <param name="a">A, p × n.</param>
    /// <param name="b">B, m × n.</param>
    /// <param name="bound">δ.</param>
    /// <exception cref="TensorNetException">Shapes that do not fit, or a bound that no X meets.</exception>
    public static Tensor LeastNorm(Tensor a, Tensor b, double bound) => ConstrainedQuadratics.leastNorm(bound, a, b).OrThrow();

    /// <summary>The minimum of ½ xᵀdiag(q)x + bᵀx on the unit sphere.</summary>
    /// <param name="q">q, n numbers.</param>
    /// <param name="b">b, n numbers.</param>
    /// <exception cref="TensorNetException">Shapes that do not fit, or numbers that are not finite.</exception>
    public static Tensor SphereQuadratic(Tensor q, Tensor b) => ConstrainedQuadratics.sphereQuadratic(q, b).OrThrow();
}
