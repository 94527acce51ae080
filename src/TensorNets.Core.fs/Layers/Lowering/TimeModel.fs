namespace TensorNets

open TorchSharp

/// What a way to apply a network is chosen for, beside sizes.
[<Struct>]
type internal Setting =
    {
        /// Weights that are made of several cores are kept, as while no gradient is needed.
        Kept: bool
        /// The input is float32 on the CPU, for which the library has convolutions of its own.
        Single: bool
    }

/// What makes a convolution.
[<RequireQualifiedAccess>]
type internal Maker =
    /// libtorch alone, as for other dtypes than float32.
    | Libtorch
    /// libtorch, or products of matrices where one position is multiplied.
    | Engine
    /// `PlaneProduct`.
    | Planes
    /// `WinogradProduct`, of so many tiles.
    | Tiles of float

/// <summary>Estimated seconds of tensor operations on one thread. Only ratios matter: the lowerings of a layer are compared by them.</summary>
/// <remarks>Fitted to TorchSharp 0.107 on one core with AVX-512, float32 (benchmarks, mode <c>layers</c>). Channels that do not fill vector registers, as in
/// depthwise convolutions, run at a small part of the rate; memory that is passed through, and the call itself, cost too.</remarks>
[<RequireQualifiedAccess>]
module internal Cost =
    /// Seconds of one call.
    let private call = 15e-6
    /// Bytes read or written in a second.
    let private bandwidth = 25e9

    let private memory (entries: float) = 4.0 * entries / bandwidth

    /// FLOPs in a second for groups of so many input and output channels: full where both fill registers, a small part for single channels.
    let private rate (groups: float) (s: float) (t: float) =
        let full = 170e9

        if groups = 1.0 then
            full * (min 1.0 (min s t / 16.0)) |> max 10e9
        else
            min full (8e9 + 4e9 * sqrt (s * t))

    /// A 1×1 convolution, and one of a kernel for each channel, where they are made by blocks of 512-bit vectors: measured with `PointwiseProduct` and `PlaneProduct`.
    let private pointwise, private planes = 220e9, 60e9

    /// Operations in a second of the products of `WinogradProduct`, and numbers transformed.
    let private tiled, private transformed = 180e9, 10e9

    /// A convolution: what makes it, groups, channels of one group, kernel positions, positions of the input and of the
    /// output, all images together.
    let convolution
        (maker: Maker)
        (groups: float)
        (s: float)
        (t: float)
        (kernel: float)
        (inside: float)
        (outside: float)
        (multiplications: float)
        =
        let threads = float (torch.get_num_threads ())
        let flops = 2.0 * multiplications * groups * s * t * kernel

        let entries = groups * (s * inside + t * outside + s * t * kernel)

        let own rate = call + (flops / rate + memory entries) / float (Team.threadsFor flops)

        match maker with
        | Maker.Tiles tiles ->
            let numbers, products = float Winograd.Numbers, 2.0 * float Winograd.Numbers * tiles * s * t

            call
            + (products / tiled + numbers * (tiles * (s + t) + s * t) / transformed)
              / float (Team.threadsFor products)
        | Maker.Planes when Product.isHere && Product.isWorth flops -> own planes
        | Maker.Engine when groups = 1.0 && kernel = 1.0 && min s t >= 16.0 && Product.isHere && Product.isWorth flops -> own pointwise
        | _ -> call + (flops / rate groups s t + memory entries) / threads

    /// A contraction of cores alone.
    let contraction (plan: Plan) =
        float plan.Steps.Length * call
        + (if Product.isHere && Product.isWorth plan.Flops then
               plan.Flops / 160e9 / float (Team.threadsFor plan.Flops)
           else
               plan.Flops / 80e9)
        + memory (3.0 * (plan.Steps |> List.sumBy _.Size))

    /// A tensor of so many entries written anew.
    let copy (entries: float) = call + memory (2.0 * entries) / float (torch.get_num_threads ())

    /// So many entries held against others.
    let comparison (entries: float) = memory (2.0 * entries)
