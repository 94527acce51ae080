namespace TensorNets

open System
open TorchSharp

/// Networks whose norm, or parts of it, leave the range: numbers are moved between cores, and taken out of them, so that T is of a norm
/// near one and every core does its share of that.
[<RequireQualifiedAccess>]
module internal CoreSizes =
    let private multiplied (cores: Tensor[]) (i: int) (log2: float) =
        let old = cores[i]
        let whole = Math.Floor log2
        let rest = log2 - whole
        let shifted = Num.shifted (int whole) old
        let next = if rest = 0.0 then shifted else shifted.mul (Num.like old (Math.Pow(2.0, rest)))

        if not (obj.ReferenceEquals(shifted, next)) then
            shifted.Dispose()

        cores[i] <- next.DetachFromDisposeScope()
        old.Dispose()

    /// The power of two by which a core counts in a norm, each of its bonds shared with another core.
    let private weight (spec: Spec) (core: Core) (tensor: Tensor) : float =
        use _ = torch.NewDisposeScope()
        let norm = Check.norm tensor
        let bonds = Spec.sharedAxes core spec |> List.sumBy (fun axis -> Math.Log2(float (Spec.dim axis spec)))
        if norm > 0.0 && Double.IsFinite norm then Math.Log2 norm - 0.25 * bonds else 0.0

    /// Makes the cores that are not fixed such, in place, where the network needs it: the power of two that was taken out of each, zeros
    /// where it did not.
    let taken (spec: Spec) (cores: Tensor[]) : float[] =
        let index = spec.Cores |> List.mapi (fun i core -> core.Name, i) |> dict
        let lookup name : Tensor = cores[index[Spec.original name]]
        let none = Array.zeroCreate spec.Cores.Length
        let free = [ for core in Spec.freeCores spec -> index[core.Name] ]

        if NumberRange.ofDoubled spec cores[0].dtype lookup = NumberRange.Own then
            none
        else
            use _ = torch.NewDisposeScope()
            let logs = Array.copy none

            for i in free do
                logs[i] <- Math.Round(weight spec spec.Cores[i] cores[i])
                multiplied cores i -logs[i]

            let left =
                (ScaledTensor.log10 (Contraction.scaledNorm spec cores[0].dtype cores[0].device lookup)).number()
                / Math.Log10 2.0

            let share = if Double.IsFinite left then left / float free.Length else 0.0

            for i in free do
                multiplied cores i -share
                logs[i] <- logs[i] + share

            logs

    /// Gives back what was taken, to the cores of each part alike: the term of S of each core changes by the same factor.
    let restore (parts: int list list) (logs: float[]) (cores: Tensor[]) : unit =
        for cores' in parts do
            let mean = cores' |> List.averageBy (fun i -> logs[i])

            for i in cores' do
                if mean <> 0.0 then
                    multiplied cores i mean
