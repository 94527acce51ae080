namespace TensorNets

open TorchSharp

/// What a way to apply a network is chosen for, beside sizes.
[<Struct>]
type internal Setting =
    {
        /// Weights that are made of several cores are cached, as while no gradient is needed.
        CachesWeights: bool
        /// The input is one that kernels take.
        ByKernels: bool
        /// Cores are applied together only where their tensor has no more entries than they, as where it is written to a file.
        KeepsSize: bool
    }

/// The sizes of a convolution.
[<Struct>]
type internal ConvWork =
    {
        Groups: float
        /// Channels of a group that are summed, and new ones.
        Summed: float
        Fresh: float
        /// Positions of the kernel.
        Kernel: float
        /// Positions of all images that go in, that come out, and that the kernel is applied at.
        Inside: float
        Outside: float
        Applied: float
    }

    member this.Flops = 2.0 * this.Applied * this.Groups * this.Summed * this.Fresh * this.Kernel

/// <summary>Estimated seconds of tensor operations. Only ratios matter: the lowerings of a layer are compared by them.</summary>
/// <remarks>What kernels make is estimated by them; the constants of what libtorch makes are in <c>Tuning</c>. Channels that do not fill
/// vector registers, as in depthwise convolutions, run at a small part of its rate; memory that is passed through, and the call itself,
/// cost too.</remarks>
[<RequireQualifiedAccess>]
module internal TimeModel =
    let private tuning = Kernels.tuning

    let private memory (entries: float) = 4.0 * entries / tuning.Bandwidth

    /// FLOPs of libtorch's convolutions in a second: full where the channels of a group fill registers, a small part for single ones.
    let private rate (work: ConvWork) =
        if work.Groups = 1.0 then
            tuning.DenseRate * min 1.0 (min work.Summed work.Fresh / 16.0) |> max tuning.LeastRate
        else
            let struct (constant, slope) = tuning.GroupedRate
            min tuning.DenseRate (constant + slope * sqrt (work.Summed * work.Fresh))

    /// A convolution, by a kernel that it may be asked of or by libtorch.
    let convolution (call: ConvCall voption) (work: ConvWork) : float =
        call
        |> ValueOption.bind Kernels.seconds
        |> ValueOption.defaultWith (fun () ->
            let entries =
                work.Groups
                * (work.Summed * work.Inside + work.Fresh * work.Outside + work.Summed * work.Fresh * work.Kernel)

            tuning.CallSeconds + (work.Flops / rate work + memory entries) / float (torch.get_num_threads ()))

    /// A contraction of cores alone.
    let contraction (plan: Plan) =
        float plan.Steps.Length * tuning.CallSeconds
        + Kernels.matmulSeconds plan.Flops
        + memory (3.0 * (plan.Steps |> List.sumBy _.Size))

    /// A tensor written anew, by the number of its entries.
    let copy (entries: float) = tuning.CallSeconds + memory (2.0 * entries) / float (torch.get_num_threads ())

    /// Entries held against others, by their number.
    let comparison (entries: float) = memory (2.0 * entries)
