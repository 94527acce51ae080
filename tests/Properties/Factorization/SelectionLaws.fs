/// The smallest ranks that meet a bound.
module SelectionLaws

open Expecto
open FsCheck
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

/// A target that decays along every unfolding, a family that fits it, and a bound.
type SelectionCase = { Shape: int list; Family: FormatFamily; Bound: float; Seed: int }

let rec private tree (modes: int list) =
    gen {
        match modes with
        | [ mode ] -> return ModeTree.Mode mode
        | modes ->
            let! parts = Gen.choose (2, min 3 modes.Length)
            let! shuffled = Gen.shuffle modes
            let! children = List.ofSeq shuffled |> List.splitInto parts |> List.map tree |> Gen.sequenceToList
            return ModeTree.Split children
    }

let private cases =
    gen {
        let! n = Gen.choose (3, 4)
        let! shape = Gen.listOfLength n (Gen.choose (2, if n = 3 then 7 else 4))
        let! tree = tree [ 0 .. n - 1 ]

        let! family =
            Gen.elements
                [
                    FormatFamily.CP
                    FormatFamily.Tucker
                    FormatFamily.Tucker2
                    FormatFamily.TensorTrain
                    FormatFamily.TensorChain
                    FormatFamily.HierarchicalTucker tree
                ]

        let! bound = Gen.elements [ 0.5; 0.3; 0.1; 0.03; 1e-3; 1e-6 ]
        let! seed = Gen.choose (0, 1_000_000)
        return { Shape = shape; Family = family; Bound = bound; Seed = seed }
    }
    |> Arb.fromGen

/// Noise whose entries shrink with their indices, so that singular values fall over several decades.
let private target (c: SelectionCase) =
    c.Shape
    |> List.indexed
    |> List.fold
        (fun (k: torch.Tensor) (mode, n) ->
            let weights =
                torch.tensor ([| for i in 0 .. int n - 1 -> exp (-0.7 * float i) |], dtype = torch.float64)

            let shape = Array.create c.Shape.Length 1L
            shape[mode] <- int64 n
            k.mul (weights.reshape shape))
        (noise c.Seed (c.Shape |> List.map int64))

let private options =
    { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 40; Tolerance = 1e-6 } }

let private isTree family = family <> FormatFamily.CP && family <> FormatFamily.TensorChain

let private laws =
    testList
        "the smallest ranks that meet a bound"
        [
            lawOver cases "the explicit error is within the bound" (fun c ->
                let k = target c
                let delta = c.Bound * k.norm().number()
                use fit = Factorize.toBound options (ErrorBound.Absolute delta) c.Family k |> ok
                let error = k.minus(Contraction.reconstruct fit.Network).norm().number()
                Expect.isLessThanOrEqual error (delta * (1.0 + 1e-9)) "error"
                Expect.isLessThanOrEqual (abs (error - fit.Error)) (1e-12 * k.norm().number()) "the error reported")
            lawOver cases "in trees no rank can be lowered by one with the same truncation" (fun c ->
                if isTree c.Family then
                    let k = target c
                    let delta = c.Bound * k.norm().number()
                    use fit = Factorize.toBound options (ErrorBound.Absolute delta) c.Family k |> ok
                    let spec = fit.Network.Spec

                    for lower in Spec.bonds spec |> List.choose (fun axis -> TreeRanks.lowered axis spec) do
                        use start = SvdStart.start 0UL lower k |> ok
                        Expect.isGreaterThan (k.minus(Contraction.reconstruct start).norm().number()) delta $"{Spec.print lower}")
            lawOver cases "the truncation's squared error is at most the sum of the squared singular values left out" (fun c ->
                if isTree c.Family then
                    let k = target c
                    let norm2 = k.squared().sum().number()

                    let spec =
                        match FormatFamily.spec c.Shape c.Family with
                        | Ok spec -> spec
                        | Error errors -> failtestf "%A" errors

                    let tails = TreeRanks.tails spec k
                    let chosen = TreeRanks.ofBudget (fun () -> false) tails spec (c.Bound * c.Bound * norm2)
                    let error = RankSelection.truncationError k chosen
                    Expect.isLessThanOrEqual (error * error) (TreeRanks.cost tails chosen + 1e-13 * norm2) "error"
                    Expect.isLessThanOrEqual (TreeRanks.cost tails chosen) (c.Bound * c.Bound * norm2 * (1.0 + 1e-12)) "budget")
            lawOver cases "a looser bound never takes more parameters" (fun c ->
                if c.Family = FormatFamily.Tucker2 || c.Family = FormatFamily.TensorTrain then
                    let k = target c

                    let size bound =
                        Spec.parameters (Factorize.toBound options (ErrorBound.Relative bound) c.Family k |> ok).Network.Spec
                    // The choice is greedy: a few parameters may go the other way.
                    Expect.isLessThanOrEqual (float (size (3.0 * c.Bound |> min 0.9))) (1.1 * float (size c.Bound)) "parameters")
            lawOver cases "float32 keeps the bound as well" (fun c ->
                if c.Bound > 1e-4 then
                    let k = (target c).``to`` torch.float32
                    use fit = Factorize.toBound options (ErrorBound.Relative c.Bound) c.Family k |> ok
                    Expect.isTrue (fit.Network.DType = torch.float32) "dtype"
                    Expect.isLessThanOrEqual fit.RelativeError (c.Bound * (1.0 + 1e-9)) "error")
            lawOver cases "corrected, the same ranks keep the bound at a lower S" (fun c ->
                let k = target c
                let bound = ErrorBound.Relative c.Bound
                use fit = Factorize.toBound options bound c.Family k |> ok

                match Factorize.stableToBound options bound c.Family k with
                | Ok stable ->
                    Expect.isLessThanOrEqual stable.RelativeError (c.Bound * (1.0 + 1e-9)) "error"
                    Expect.isLessThanOrEqual stable.Sensitivity (fit.Sensitivity * (1.0 + 1e-9)) "S"
                | Error [ TensorNetError.RankDeficientBond _ ] -> ()
                | Error errors -> failtestf "%A" (errors |> List.map _.Message))
        ]

let private cleanRanks =
    testList
        "a tensor of known ranks"
        [
            for format, family in
                [
                    Format.Tucker [ 2; 3; 2 ], FormatFamily.Tucker
                    Format.Tucker2(2, 3), FormatFamily.Tucker2
                    Format.TensorTrain [ 3; 2 ], FormatFamily.TensorTrain
                    Format.CP 3, FormatFamily.CP
                ] do
                testCase $"{Format.name format}: gets them back" (fun () ->
                    use _ = torch.NewDisposeScope()

                    match Format.spec [ 6; 5; 7 ] format with
                    | Error errors -> failtestf "%A" errors
                    | Ok spec ->
                        let k = Contraction.reconstruct (randomNetwork 5 spec)
                        use fit = Factorize.toBound Factorize.defaults (ErrorBound.Relative 1e-4) family k |> ok
                        Expect.equal (Spec.print fit.Network.Spec) (Spec.print spec) "network")
        ]

let private badInput =
    let k () = noise 1 [ 4L; 3L; 4L ]

    let messages family bound target =
        match Factorize.toBound options bound family target with
        | Ok fit -> failtestf "accepted: %O" fit
        | Error errors -> errors |> List.map _.Message |> String.concat "; "

    testList
        "bad input"
        [
            for bound, text in
                [
                    ErrorBound.Relative nan, "The error bound is NaN"
                    ErrorBound.Relative -0.1, "The error bound is -0.1"
                    ErrorBound.Relative 1.0, "The error bound is 1"
                    ErrorBound.Relative 0.0, "The error bound 0 cannot be met"
                ] do
                testCase text (fun () ->
                    use _ = torch.NewDisposeScope()
                    Expect.stringContains (messages FormatFamily.Tucker bound (k ())) text "message")
            testCase "families that do not fit the shape are named" (fun () ->
                use _ = torch.NewDisposeScope()
                let matrix = noise 1 [ 4L; 4L ]
                let bound = ErrorBound.Relative 0.5
                Expect.stringContains (messages FormatFamily.TensorChain bound matrix) "at least 3" "chain"
                Expect.stringContains (messages FormatFamily.Tucker2 bound matrix) "at least 3" "Tucker-2"

                Expect.stringContains
                    (messages (FormatFamily.HierarchicalTucker(ModeTree.Split [ ModeTree.Mode 0; ModeTree.Mode 0 ])) bound matrix)
                    "dimension tree names the modes 0, 0"
                    "tree")
            testCase "targets of zeros and of NaN are named" (fun () ->
                use _ = torch.NewDisposeScope()
                let bound = ErrorBound.Relative 0.5
                Expect.stringContains (messages FormatFamily.CP bound (torch.zeros (3L, 3L, 3L))) "zero everywhere" "zeros"
                Expect.stringContains (messages FormatFamily.CP bound ((k ()).mul(Num.tensor nan))) "NaN" "NaN")
        ]

let all = testList "selection" [ laws; cleanRanks; badInput ]
