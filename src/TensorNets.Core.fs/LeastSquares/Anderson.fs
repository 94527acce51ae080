namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// Anderson acceleration of a fixed-point map x → g(x) on all cores at once: the combination of the last images whose combined step g(x) −
/// x is smallest. Source: Walker and Ni, "Anderson Acceleration for Fixed-Point Iterations", SIAM J. Numer. Anal. 49(4), 2011.
[<Sealed>]
type internal Anderson(depth: int) =
    /// The ridge of the Gram of steps, as a share of its largest diagonal entry: far below what the map needs.
    static let ridgeShare = 1e-14

    let images = List<Tensor>()
    let steps = List<Tensor>()

    let drop (list: List<Tensor>) =
        list[0].Dispose()
        list.RemoveAt 0

    /// Forgets everything.
    member _.Clear() =
        while images.Count > 0 do
            drop images
            drop steps

    /// Whether there is nothing to extrapolate from yet.
    member _.IsEmpty = images.Count < 2

    /// Takes a point and its image, as vectors.
    member _.Push(point: Tensor, image: Tensor) =
        images.Add(image.clone().DetachFromDisposeScope())
        steps.Add(image.minus(point).DetachFromDisposeScope())

        if images.Count > depth then
            drop images
            drop steps

    /// The next point, or None while there are fewer than two images. The caller's scope owns it.
    member _.Propose() : Tensor option =
        if images.Count < 2 then
            None
        else
            use scope = torch.NewDisposeScope()
            let last = images.Count - 1
            let differences (list: List<Tensor>) = torch.stack [| for i in 0 .. last - 1 -> list[i + 1].minus list[i] |]
            let ds, dg = differences steps, differences images
            // Least squares by the Gram of a few vectors.
            let gram = ds.matmul ds.mT
            let ridge = gram.diagonal().max().mul(Num.tensor ridgeShare)
            let system = gram.plus (torch.eye(int64 last, dtype = gram.dtype, device = gram.device).mul ridge)
            // torch.linalg.lstsq reads pivots that nobody wrote (LAPACK's gelsy): its last digits differ from call to call.
            let gamma = (Decompose.pinv system).matmul(ds.matmul (steps[last].unsqueeze 1L))
            let next = images[last].minus(dg.mT.matmul(gamma).squeeze 1L)
            Some(scope.MoveToOuter next)

    interface IDisposable with
        member this.Dispose() = this.Clear()

/// The best cores so far of an array that an iteration works on.
[<Sealed>]
type internal Best(cores: Tensor[]) =
    let copy () = [| for core in cores -> core.clone().DetachFromDisposeScope() |]

    let mutable kept = copy ()

    let release () =
        for core in kept do
            core.Dispose()

    /// The cores as they are become the best.
    member _.Keep() =
        release ()
        kept <- copy ()

    /// The cores become the best again.
    member _.Restore() =
        for i in 0 .. cores.Length - 1 do
            cores[i].Dispose()
            cores[i] <- kept[i].clone().DetachFromDisposeScope()

    interface IDisposable with
        member _.Dispose() = release ()

/// Cores that sweeps improve in place, each from an Anderson combination of the ones before: of the first `free` cores, the others are
/// fixed. `changed` hears whenever the cores become others than a sweep has made.
[<Sealed>]
type internal Extrapolated(depth: int, free: int, cores: Tensor[], changed: unit -> unit) =
    let memory = new Anderson(depth)
    let best = new Best(cores)

    /// The free cores as a vector. The caller's scope owns it.
    member _.Vector() : Tensor = CoreVector.ofCores (Array.truncate free cores)

    /// The free cores become those of a vector.
    member _.Put(vector: Tensor) =
        use scope = torch.NewDisposeScope()
        CoreVector.put scope free cores vector
        changed ()

    /// The cores become the best again, and nothing is extrapolated from sweeps before.
    member _.Undo() =
        best.Restore()
        memory.Clear()
        changed ()

    /// Whether the next sweep starts from where the last one ended.
    member _.IsPlain = memory.IsEmpty

    /// A sweep, which says what it has reached, or None where that is not to be: then it is undone; otherwise it is the best, and the cores
    /// become the next extrapolated point.
    member this.Attempt(sweep: unit -> 'T option) : 'T option =
        use _ = torch.NewDisposeScope()
        let point = this.Vector()
        let result = sweep ()

        if result.IsSome then
            best.Keep()
            memory.Push(point, this.Vector())
            memory.Propose() |> Option.iter this.Put
        else
            this.Undo()

        result

    interface IDisposable with
        member _.Dispose() =
            (memory :> IDisposable).Dispose()
            (best :> IDisposable).Dispose()
