/// Bonds larger than their sides can carry, which a spec may have and a format may not. `LAW_CASES` raises the number of cases, of which
/// each law here takes a fifth.
module OversizedRankLaws

open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators

/// A spec of some format with bonds of any size, and a target.
type private Case =
    {
        Spec: Spec
        Seed: int
    }

    override this.ToString() = $"{Spec.print this.Spec} (seed {this.Seed})"

let private specOf shape format =
    match Format.spec shape format with
    | Ok spec -> spec
    | Error errors -> failtestf "%A" errors

let private formats =
    let tree =
        let pair a b = DimTree.Split [ 1, DimTree.Mode a; 1, DimTree.Mode b ]
        DimTree.Split [ 1, pair 0 1; 1, DimTree.Mode 2 ]

    [
        Format.CP 1
        Format.Tucker [ 1; 1; 1 ]
        Format.Tucker2(1, 1)
        Format.TensorTrain [ 1; 1 ]
        Format.TensorChain [ 1; 1; 1 ]
        Format.HierarchicalTucker tree
    ]

let private largest = 14

let private cases (formats: Format list) (sizes: Spec -> (Axis * int) list -> (Axis * int) list) =
    Arb.fromGen (
        gen {
            let! shape = Gen.listOfLength 3 (Gen.choose (2, 6))
            let! format = Gen.elements formats
            let spec = specOf shape format
            let! dims = Gen.listOfLength (Spec.bonds spec).Length (Gen.choose (1, largest))
            let! seed = Gen.choose (1, 100000)
            return { Spec = Spec.resized (sizes spec (List.zip (Spec.bonds spec) dims)) spec; Seed = seed }
        }
    )

let private target (case: Case) = noise case.Seed (Spec.shape case.Spec)

/// How much larger S may be than after the correction, which cuts what no side can carry. Least squares divide by every direction above
/// 1e-13 of the largest squared pivot (`singularShare` of Als.fs), so S of a random start has a long tail: half of 500 cases were below
/// 5, one in a hundred above 4,000, one at 3e6. Where directions that a side has not were enlarged, it was 1e24 and more.
let private multiple = 1e13

let private isSane (case: Case) (fit: Fit) =
    let stable = Factorize.stableSpec Factorize.defaults None case.Spec (target case) |> ok
    Expect.isLessThanOrEqual fit.Sensitivity (multiple * stable.Sensitivity) "S of least squares"
    Expect.isLessThanOrEqual stable.RelativeError (fit.RelativeError + 1e-9) "the error after the correction"

    for axis in Spec.bonds stable.Network.Spec do
        match Spec.carriers axis stable.Network.Spec with
        | [ _; _ ] when TreeSvd.isTree case.Spec ->
            Expect.equal (TreeRanks.admissible stable.Network.Spec) stable.Network.Spec "the correction cuts what no side can carry"
        | _ -> ()

let private trees = formats |> List.filter (fun format -> TreeSvd.isTree (specOf [ 2; 2; 2 ] format))

/// Every bond as large as any tensor needs, and by so much larger.
let private beyond (spec: Spec) (more: (Axis * int) list) =
    let full = Spec.resized [ for axis in Spec.bonds spec -> axis, 1000 ] spec |> TreeRanks.admissible
    [ for axis, size in more -> axis, Spec.dim axis full + size - 1 ]

/// Most are far below that.
let private usual =
    testCase "in four of five cases S of least squares is below a thousand times that after the correction" (fun () ->
        let drawn = Gen.sampleWithSeed (FsCheck.Rnd 20261130UL) 50 40 (cases formats (fun _ -> id)).Generator

        let large =
            drawn
            |> Array.filter (fun case ->
                use _ = torch.NewDisposeScope()
                let fit = Factorize.runSpec Factorize.defaults case.Spec (target case) |> ok
                let stable = Factorize.stableSpec Factorize.defaults None case.Spec (target case) |> ok
                fit.Sensitivity > 1e3 * stable.Sensitivity)

        Expect.isLessThanOrEqual large.Length 8 $"%A{Array.map string large}")

let all =
    testList
        "oversized ranks"
        [
            usual
            costlyLawOver
                (cases formats (fun _ -> id))
                "whatever the sizes of bonds, S of least squares is of a normal size, and the correction leaves no bond that cannot be full"
                (fun case -> Factorize.runSpec Factorize.defaults case.Spec (target case) |> ok |> isSane case)
            costlyLawOver (cases trees beyond) "a tree whose bonds carry as much as their sides or more holds any target" (fun case ->
                let fit = Factorize.runSpec Factorize.defaults case.Spec (target case) |> ok
                Expect.isLessThan fit.RelativeError 1e-7 "the error"
                isSane case fit)
        ]
