/// What sweeps save, and that it changes nothing.
module SweepLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

/// A target of a network of the format and noise of 30 %, another network of the format, and the cores to sweep over.
let private problem (case: FormatCase) =
    let k = targetWith 0.3 case
    let start = randomNetwork (case.Seed + 2) case.Spec
    let cores () = [| for core in start.Cores -> core.clone().DetachFromDisposeScope() |]
    k, k.norm().number(), cores

let private release (cores: torch.Tensor[]) =
    for core in cores do
        core.Dispose()

/// Least-squares sweeps with one `Kept`; the last residual.
let private swept sweeps (spec: Spec) (k: torch.Tensor) norm (cores: torch.Tensor[]) =
    let blocks = LocalProblem.blocks spec
    use kept = LocalProblem.keeping blocks

    [ for _ in 1..sweeps -> Als.pass kept blocks (CoreArray.Lookup spec cores) k (norm * norm) cores ]
    |> List.last

/// Sweeps of the correction that solve for every core, also for those that the gauge moves.
let private solvingAll (problem: CorrectionProblem) (cores: torch.Tensor[]) : CorrectionSweep =
    use made = CorrectionSweep.make problem cores
    let blocks = LocalProblem.blocks problem.Spec
    { made with Blocks = List.indexed blocks; Cache = LocalProblem.keeping blocks }

let all =
    testList
        "sweeps"
        [
            costlyLaw "products that a sweep keeps give the cores that products made anew give" (fun (case: FormatCase) ->
                use _ = torch.NewDisposeScope()
                let k, norm, cores = problem case
                let kept, anew = cores (), cores ()
                swept 2 case.Spec k norm kept |> ignore

                for _ in 1..2 do
                    LocalProblem.blocks case.Spec
                    |> List.iteri (fun i block -> anew[i] <- Als.solveBlock None block (CoreArray.Lookup case.Spec anew) k)

                Array.iter2 (fun a b -> close 1e-12 a b "core") kept anew
                release kept)
            costlyLaw "the error that Grams tell is that of the explicit difference" (fun (case: FormatCase) ->
                use _ = torch.NewDisposeScope()
                let k, norm, make = problem case
                let cores = make ()
                let residual = swept 3 case.Spec k norm cores
                let error = Fit.explicitError (Plan.make Order.Auto case.Spec) k (CoreArray.Lookup case.Spec cores)

                // None is for errors whose square rounding may reach; the case below is none.
                residual |> Option.iter (fun residual -> near 1e-11 (sqrt residual) error "error")
                release cores)
            costlyLaw "a sweep of correction reports the error and S of its cores" (fun (case: FormatCase) ->
                use _ = torch.NewDisposeScope()
                let k, norm, make = problem case
                let cores = make ()
                swept 3 case.Spec k norm cores |> ignore
                let full, lookup = Plan.make Order.Auto case.Spec, CoreArray.Lookup case.Spec cores
                let bound = 1.01 * Fit.explicitError full k lookup

                if bound < norm then
                    let problem =
                        { Options = SweepOptions.defaults; Spec = case.Spec; Target = k; Norm = norm; Bound = bound }

                    use work = CorrectionSweep.make problem cores
                    let error, s = CorrectionSweep.once work
                    near 1e-11 error (Fit.explicitError full k lookup) "error"
                    near 1e-10 s (Sensitivity.value (networkOf case.Spec (List.ofArray cores))) "S"

                release cores)
            costlyLaw "how large the terms are that cancel at a core does not depend on how columns are scaled" (fun (case: FormatCase) ->
                use _ = torch.NewDisposeScope()
                let start = randomNetwork (case.Seed + 2) case.Spec
                let blocks = LocalProblem.blocks case.Spec
                let axis = (Spec.bonds case.Spec).Head
                let carriers = Spec.carriers axis case.Spec |> List.map _.Name
                let size = Spec.dim axis case.Spec
                let factors = torch.linspace (-3.0, 3.0, int64 size, dtype = torch.float64) |> _.exp()

                // Slices along a bond times numbers in one core, divided by them in another.
                let scaled (name: string) (tensor: torch.Tensor) =
                    let core = case.Spec.Cores |> List.find (fun core -> core.Name = name)
                    let shape = [| for a in core.Axes -> if a = axis then int64 size else 1L |]

                    if name = carriers[0] then tensor.mul (factors.reshape shape)
                    elif name = carriers[1] then tensor.div (factors.reshape shape)
                    else tensor

                let reach (lookup: string -> torch.Tensor) (block: Block) =
                    let x = LocalProblem.toX block (lookup block.Core.Name)
                    LocalAlgebra.reach (LocalProblem.grams None block lookup x) x

                for block in blocks do
                    let plain = Network.lookup start
                    let other (name: string) = scaled (Spec.original name) (plain name)
                    near 1e-9 (reach other block) (reach plain block) block.Core.Name)
            testCase "Grams tell the error of a sweep of CP, and not that of an exact one" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec = specOf "sr,dr,tr->sdt" [ "s", 7; "d", 3; "t", 6; "r", 2 ]
                let clean = Contraction.reconstruct (Network.random torch.float64 1UL spec)
                let rough = noise 2 clean.shape

                for share, told in [ 0.5, true; 0.0, false ] do
                    let k = clean.plus (rough.mul (Num.tensor share))
                    use start = Network.random torch.float64 1UL spec
                    let cores = [| for core in start.Cores -> core.clone().DetachFromDisposeScope() |]
                    let residual = swept 3 spec k (k.norm().number()) cores
                    Expect.equal residual.IsSome told $"noise {share}"
                    release cores)
            costlyLaw "a core that another can take over is not solved for, and least squares lose nothing by it" (fun (case: FormatCase) ->
                use _ = torch.NewDisposeScope()
                // The same network with one more mode, of size 1, whose core carries a bond.
                let bond = (Spec.bonds case.Spec).Head
                let weight = { Name = "Weight"; Axes = [ Axis "unit"; bond ] }
                let dims = (Axis "unit", 1) :: Map.toList case.Spec.Dims

                let spec =
                    Spec.create dims (weight :: case.Spec.Cores) (Axis "unit" :: case.Spec.Output)
                    |> Result.defaultWith (failwithf "%A")

                let absorbed = AbsorbedCores.find spec
                Expect.isFalse (absorbed.Spec.Cores |> List.exists (fun core -> core.Name = "Weight")) "solved for"
                Expect.equal absorbed.Spec.Cores.Length (AbsorbedCores.find case.Spec).Spec.Cores.Length "cores of a sweep"

                let start = randomNetwork (case.Seed + 2) spec
                let k = targetWith 0.3 case
                let cores = [| for core in start.Cores -> core.clone().DetachFromDisposeScope() |]
                let norm = k.norm().number()
                let options = { SweepOptions.defaults with MaxSweeps = 3; Tolerance = 0.0 }

                let before =
                    Fit.explicitError (Plan.make Order.Auto spec) (k.unsqueeze 0L) (CoreArray.Lookup spec cores) / norm

                let _, _, errors = Als.sweepUntil options (fun _ _ -> false) spec (k.unsqueeze 0L) cores

                let after =
                    Fit.explicitError (Plan.make Order.Auto spec) (k.unsqueeze 0L) (CoreArray.Lookup spec cores) / norm


                // Of an exact fit the error is rounding.
                let same found expected what = Expect.isLessThanOrEqual (abs (found - expected)) (1e-9 * expected + 1e-14) what
                same errors.Head before "T before, in whatever cores"
                same (List.last errors) after "T after"
                Expect.isLessThanOrEqual after (before * (1.0 + 1e-9) + 1e-14) "error"
                release cores)
            testCase "modes of size 1 are not solved for: a sweep of CP over 34 of them is one over 3" (fun () ->
                use _ = torch.NewDisposeScope()
                let specOver shape = Format.spec shape (Format.CP 5) |> Result.defaultWith (failwithf "%A")

                let few, many =
                    specOver [ 4; 5; 3 ], specOver [ for i in 0..33 -> if i % 11 = 0 && i < 33 then [ 4; 5; 3 ][i / 11] else 1 ]

                let left = (AbsorbedCores.find many).Spec

                let flops spec =
                    LocalProblem.blocks spec
                    |> List.sumBy (fun b -> b.Target.Flops + (b.Branches |> List.sumBy _.Gram.Flops))

                Expect.equal left.Cores.Length 3 "cores"
                Expect.equal (flops left) (flops few) "FLOPs of a sweep")
            testCase
                "modes of size 1 are moved by the gauge alone: the correction solves for the others, and S is stationary for all"
                (fun () ->
                    use _ = torch.NewDisposeScope()

                    for ones in [ 1; 3; 6 ] do
                        let shape = [ 4; 5; 3 ] @ List.replicate ones 1
                        let spec = Format.spec shape (Format.CP 3) |> Result.defaultWith (failwithf "%A")
                        let target = noise ones [| for n in shape -> int64 n |]

                        let fit =
                            Factorize.stable Factorize.defaults None (Format.CP 3) target |> Result.defaultWith (failwithf "%A")

                        Expect.equal (AbsorbedCores.onOneBond spec).Count ones "cores that the gauge moves"

                        // Another correction that begins there finds next to nothing more.
                        let again =
                            Correction.epc SweepOptions.defaults (ErrorBound.Absolute fit.Error) target fit.Network
                            |> Result.defaultWith (failwithf "%A")

                        Expect.isLessThanOrEqual again.Error (fit.Error * (1.0 + 1e-8)) "error"
                        Expect.isGreaterThan again.Sensitivity (0.99 * fit.Sensitivity) "S of another correction"

                        // Nor do sweeps that solve for every core.
                        let cores = [| for core in fit.Network.Cores -> core.clone().DetachFromDisposeScope() |]

                        use work =
                            solvingAll
                                {
                                    Options = SweepOptions.defaults
                                    Spec = spec
                                    Target = target
                                    Norm = target.norm().number()
                                    Bound = fit.Error
                                }
                                cores

                        Expect.equal work.Blocks.Length spec.Cores.Length "blocks"

                        for _ in 1..20 do
                            let error, s = CorrectionSweep.once work
                            Expect.isLessThanOrEqual error (fit.Error * (1.0 + 1e-8)) "error of sweeps over every core"
                            Expect.isGreaterThan s (0.99 * fit.Sensitivity) "S of sweeps over every core"

                        release cores)
            testCase "what is kept goes with the core it was made from, and all of it in the end" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec = specOf "sr,dr,tr->sdt" [ "s", 7; "d", 3; "t", 6; "r", 4 ]
                let network = Network.random torch.float64 1UL spec
                let k = noise 1 [| 7L; 3L; 6L |]
                let blocks = LocalProblem.blocks spec
                let kept = LocalProblem.keeping blocks

                let made () =
                    for block in blocks do
                        LocalProblem.targetOf (Some kept) block (Network.lookup network) k |> ignore

                made ()
                // K × A serves the blocks of the other two cores.
                Expect.equal kept.Count 1 "kept"
                kept.Forget "B"
                Expect.equal kept.Count 1 "B is not in it"
                kept.Forget "A"
                Expect.equal kept.Count 0 "A is"
                made ()
                (kept :> System.IDisposable).Dispose()
                Expect.equal kept.Count 0 "left over")
        ]
