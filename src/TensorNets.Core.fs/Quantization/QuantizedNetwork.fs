namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>How many entries of a core share a scale.</summary>
[<RequireQualifiedAccess>]
type Scales =
    /// All entries of a core.
    | PerCore
    /// A slice of the core's widest bond: for CP a column of each core. Scales of one term of that bond become one number, whatever the
    /// number of its cores. A core without bonds has one scale; the only core of a network one for each slice of its last axis, the output
    /// channel of a kernel.
    | PerSlice
    /// So many entries, in storage order; the last group may have fewer.
    | PerGroup of entries: int

/// <summary>How cores are rounded to few bits.</summary>
type QuantizeOptions =
    {
        /// Bits of an entry, 2 to 8: integers from −(2^(bits−1) − 1) to 2^(bits−1) − 1.
        Bits: int
        /// Which entries share a scale; by default a slice of a bond.
        Scales: Scales
        /// The norm in which errors are measured; by default Frobenius.
        Norm: Norm
    }

/// Which entries of a core a vector of scales belongs to.
[<RequireQualifiedAccess>]
type internal ScaleLayout =
    | Whole
    /// One for each index of the axis at this place.
    | Along of place: int
    | Groups of entries: int

/// <summary>A core of small integers: its entry is the integer times the scale that belongs to it.</summary>
[<Sealed>]
type QuantizedCore internal (name: string, integers: Tensor, scaleName: string, scales: Tensor, layout: ScaleLayout) =
    /// The core of the spec that this is.
    member _.Name = name
    /// int8, in the shape of the core.
    member _.Integers = integers
    /// The name of the scales; cores whose scales are one tensor name it alike.
    member _.ScaleName = scaleName
    /// float32: one number, or one for each slice of <c>Axis</c>, or one for each group of <c>Group</c> entries.
    member _.Scales = scales

    /// The place of the axis of the core along which scales stand; none for one scale or groups.
    member _.Axis =
        match layout with
        | ScaleLayout.Along place -> Nullable place
        | _ -> Nullable()

    /// The entries of a group in storage order; 0 where scales stand otherwise.
    member _.Group =
        match layout with
        | ScaleLayout.Groups entries -> entries
        | _ -> 0

    member internal _.Layout = layout

/// The arithmetic of scales.
[<RequireQualifiedAccess>]
module internal ScaleLayout =
    /// The entries of a group, all of a core that has fewer.
    let private groupSize (entries: int) (count: int64) : int64 = int64 entries |> min count |> max 1L

    /// A core as rows of entries that share a scale; the last row of groups is filled up with zeros.
    let rows (layout: ScaleLayout) (core: Tensor) : Tensor =
        match layout with
        | ScaleLayout.Whole -> core.reshape (1L, -1L)
        | ScaleLayout.Along place -> core.movedim([| int64 place |], [| 0L |]).reshape(core.shape[place], -1L)
        | ScaleLayout.Groups entries ->
            let flat = core.reshape -1L
            let size = groupSize entries flat.shape[0]
            let missing = (size - flat.shape[0] % size) % size

            let filled =
                if missing = 0L then
                    flat
                else
                    torch.cat ([| flat; torch.zeros ([| missing |], dtype = flat.dtype, device = flat.device) |], 0L)

            filled.reshape (-1L, size)

    /// For every scale how many entries of a core of a shape share it: one number where all have as many.
    let counts (layout: ScaleLayout) (shape: int64[]) : Tensor =
        let count = Array.fold (*) 1L shape

        match layout with
        | ScaleLayout.Whole -> Num.tensor (float count)
        | ScaleLayout.Along place -> Num.tensor (float (count / shape[place]))
        | ScaleLayout.Groups entries ->
            let size = groupSize entries count
            let groups = (count + size - 1L) / size
            let last = count - size * (groups - 1L)
            let sizes = Array.init (int groups) (fun i -> float (if int64 i = groups - 1L then last else size))
            torch.tensor (sizes, dtype = torch.float64, device = torch.CPU)

    /// A scale for every entry of a core of a shape, in a view where possible.
    let spread (layout: ScaleLayout) (shape: int64[]) (scales: Tensor) : Tensor =
        match layout with
        | ScaleLayout.Whole -> scales.reshape(Array.map (fun _ -> 1L) shape).expand shape
        | ScaleLayout.Along place -> scales.reshape(shape |> Array.mapi (fun i size -> if i = place then size else 1L)).expand shape
        | ScaleLayout.Groups entries ->
            let count = Array.fold (*) 1L shape
            scales.unsqueeze(-1L).expand(scales.shape[0], groupSize entries count).reshape(-1L).narrow(0L, 0L, count).reshape shape

/// <summary>A network whose cores are small integers with scales.</summary>
/// <remarks>Whoever holds it disposes it; that disposes integers and scales. Source of the rounding with compensation: Frantar et al.,
/// "GPTQ", ICLR 2023 (arXiv 2210.17323), there for matrices.</remarks>
[<Sealed>]
type QuantizedNetwork internal (spec: Spec, bits: int, cores: QuantizedCore list) =
    let alive () : TensorNetError list =
        if cores |> List.exists (fun core -> core.Integers.IsInvalid || core.Scales.IsInvalid) then
            [ TensorNetError.Disposed "The network of integers" ]
        else
            []

    /// The network without numbers.
    member _.Spec = spec
    /// Bits of an entry.
    member _.Bits = bits
    /// The cores in the order of the spec.
    member _.Cores: IReadOnlyList<QuantizedCore> = cores

    /// Bytes of the cores, each packed by itself, and of the scales in float32.
    member _.Bytes: int64 =
        alive () |> TensorNetError.raiseAny
        let packed = cores |> List.sumBy (fun core -> (core.Integers.numel () * int64 bits + 7L) / 8L)
        let scales = cores |> List.distinctBy _.ScaleName |> List.sumBy (fun core -> 4L * core.Scales.numel ())
        packed + scales

    /// As `Restored`, or what is wrong.
    member internal _.TryRestored(dtype: torch.ScalarType) : Result<Network, TensorNetError list> =
        use _ = Mode.left ()
        use _ = torch.no_grad ()
        use scope = torch.NewDisposeScope()

        let restored (core: QuantizedCore) =
            let scales = ScaleLayout.spread core.Layout core.Integers.shape (core.Scales.``to`` torch.float64)
            let wide = (core.Integers.``to`` torch.float64).mul scales
            // In every dtype what float32 has: a layer may be moved from one to another.
            let held = wide.``to``(torch.float32).``to``(dtype).contiguous()

            if not (held.isfinite().all().truth()) then
                Error
                    [
                        TensorNetError.OutOfRange($"Core '{core.Name}'", Math.Log10(wide.abs().max().number()), string dtype)
                    ]
            else
                Ok(scope.MoveToOuter held)

        match alive () @ Check.floating "The restored network" dtype with
        | [] ->
            cores
            |> List.map restored
            |> TensorNetError.collect
            |> Result.map (fun tensors -> new Network(spec, List.toArray tensors))
        | errors -> Error errors

    /// <summary>The network that the integers and scales stand for, in a dtype: new tensors, which the caller owns. Entries are the
    /// products in float32.</summary>
    /// <param name="dtype">Float64, Float32, BFloat16 or Float16.</param>
    /// <exception cref="T:TensorNets.TensorNetException">It is disposed (<c>Disposed</c>); the dtype is another (<c>DType</c>), or does not
    /// hold an entry (<c>OutOfRange</c>).</exception>
    member this.Restored(dtype: torch.ScalarType) : Network = this.TryRestored dtype |> TensorNetError.raiseErrors

    /// The same with integers and scales of its own, in no scope.
    member internal _.Copy() : QuantizedNetwork =
        let own (tensor: Tensor) : Tensor = tensor.clone().DetachFromDisposeScope()

        let scales =
            dict [ for core in cores |> List.distinctBy _.ScaleName -> core.ScaleName, own core.Scales ]

        let copy (core: QuantizedCore) = QuantizedCore(core.Name, own core.Integers, core.ScaleName, scales[core.ScaleName], core.Layout)

        new QuantizedNetwork(spec, bits, List.map copy cores)

    override _.ToString() = $"{spec} at {bits} bits"

    interface IDisposable with
        member _.Dispose() =
            for core in cores do
                core.Integers.Dispose()
                core.Scales.Dispose()
