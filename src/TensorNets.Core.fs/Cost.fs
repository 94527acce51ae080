namespace TensorNets

open TorchSharp

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

    /// A convolution: whether it is of a kernel for each channel by `PlaneProduct`, groups, channels of one group, kernel positions, positions of the input and of the
    /// output, all images together.
    let convolution
        (isPlane: bool)
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

        let own =
            if not (Product.isHere && Product.isWorth flops) then None
            elif groups = 1.0 && kernel = 1.0 && min s t >= 16.0 then Some pointwise
            elif isPlane then Some planes
            else None

        match own with
        | Some rate -> call + (flops / rate + memory entries) / float (Team.threadsFor flops)
        | None -> call + (flops / rate groups s t + memory entries) / threads

    /// A contraction of cores alone.
    let contraction (plan: Plan) =
        float plan.Steps.Length * call
        + plan.Flops / 80e9
        + memory (3.0 * (plan.Steps |> List.sumBy _.Size))

    /// A tensor of so many entries written anew.
    let copy (entries: float) = call + memory (2.0 * entries) / float (torch.get_num_threads ())

    /// So many entries held against others.
    let comparison (entries: float) = memory (2.0 * entries)
