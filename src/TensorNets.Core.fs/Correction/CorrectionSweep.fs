namespace TensorNets

open System
open TorchSharp

/// What a sweep of the correction works on.
[<NoEquality; NoComparison>]
type internal CorrectionSweep =
    {
        Problem: CorrectionProblem
        Cores: Tensor[]
        Lookup: string -> Tensor
        /// The blocks that are solved, each with the place of its core: all free ones but those that the gauge alone moves.
        Blocks: (int * Block) list
        /// The plan of T.
        Full: Plan
        Gauge: FreeBonds.Bonds
        Sensitivity: SensitivityPlan
        /// The multiplier of each block in the last sweep.
        Lambdas: float option[]
        /// The reach of each block when it was last solved; 0 before.
        Reaches: float[]
        Cache: IntermediateCache
        /// Whether a bond had directions without weight after the last sweep.
        mutable Deficient: bool
    }

    member this.Target = this.Problem.Target
    /// ‖K‖².
    member this.Norm2 = this.Problem.Norm * this.Problem.Norm

    interface IDisposable with
        member this.Dispose() = (this.Cache :> IDisposable).Dispose()

/// One sweep of the correction over all cores.
[<RequireQualifiedAccess>]
module internal CorrectionSweep =
    let make (problem: CorrectionProblem) (cores: Tensor[]) : CorrectionSweep =
        let spec = problem.Spec
        let byGauge = AbsorbedCores.onOneBond spec

        let blocks =
            [
                for i, core in List.indexed (Spec.freeCores spec) do
                    if not (byGauge.Contains i) then
                        i, LocalProblem.block spec core
            ]

        {
            Problem = problem
            Cores = cores
            Lookup = CoreArray.Lookup spec cores
            Blocks = blocks
            Full = Plan.make Order.Auto spec
            Gauge = FreeBonds.ofSpec spec
            Sensitivity = Sensitivity.plan spec
            Lambdas = Array.create cores.Length None
            Reaches = Array.zeroCreate cores.Length
            Cache = LocalProblem.keeping (List.map snd blocks)
            Deficient = false
        }

    /// One sweep in place: every block, then one cycle of the gauge. The error and S after it; NaN where a block is not finite.
    let once (work: CorrectionSweep) : float * float =
        use scope = torch.NewDisposeScope()
        let explicitly () = Fit.explicitError work.Full work.Target work.Lookup
        work.Cache.Clear()
        // An extrapolated point may miss the bound: then blocks are least squares until it is met.
        let mutable error = Lazy<float> explicitly
        let mutable finite = work.Cores |> Array.forall _.isfinite().all().truth()
        let mutable after = None

        work.Blocks
        |> List.iter (fun (i, block) ->
            if finite then
                let outcome =
                    LocalCorrection.solve
                        {
                            Cache = Some work.Cache
                            Full = work.Full
                            Block = block
                            Lookup = work.Lookup
                            Target = work.Target
                            Norm2 = work.Norm2
                            Bound = work.Problem.Bound
                            Error = error
                            Reach = Array.max work.Reaches
                            Lambda = work.Lambdas[i]
                        }

                outcome.Reach |> Option.iter (fun reach -> work.Reaches[i] <- reach)

                match outcome.Result with
                | BlockResult.Moved(core, _)
                | BlockResult.LeastSquares core when not (core.isfinite().all().truth()) -> finite <- false
                | BlockResult.Moved(core, lambda) ->
                    work.Lambdas[i] <- Some lambda
                    error <- lazy work.Problem.Bound
                    after <- outcome.Residual
                    Fit.replace scope work.Cores i core
                | BlockResult.LeastSquares core ->
                    after <- None
                    Fit.replace scope work.Cores i core
                | BlockResult.Unchanged -> ()

                work.Cache.Forget block.Core.Name)

        let s, _, deficient = Gauge.lenient 1 work.Gauge work.Sensitivity work.Cores
        work.Deficient <- deficient

        let error =
            match after with
            | _ when not finite -> nan
            | Some residual -> sqrt residual
            | None -> explicitly ()

        error, s
