/// The least sensitivity at no change of T.
module GaugeLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden
open NetworkLaws

/// Balancing multiplies by matrices and their inverses: what that costs T.
let private tensorStays = 1e-12

let all =
    testList
        "balance"
        [
            law "T stays" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                close tensorStays (Contraction.reconstruct (Gauge.balance network |> ok)) (Contraction.reconstruct network) "T")
            law "S never rises" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                Expect.isLessThanOrEqual (Sensitivity.value (Gauge.balance network |> ok)) (Sensitivity.value network * (1.0 + 1e-13)) "S")
            law "balancing again changes nothing" (fun (case: FormatCase) ->
                let once = Gauge.balance (randomNetwork case.Seed case.Spec) |> ok
                near 1e-11 (Sensitivity.value (Gauge.balance once |> ok)) (Sensitivity.value once) "S")
            law "any gauge of a network comes to the same S" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                let other = regauged case.Seed network
                close 1e-10 (Contraction.reconstruct other) (Contraction.reconstruct network) "the gauge leaves T"
                near 1e-9 (Sensitivity.value (Gauge.balance other |> ok)) (Sensitivity.value (Gauge.balance network |> ok)) "S")
            law "the given network is not changed" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                let before = network.Cores |> Seq.map _.clone() |> Seq.toList
                Gauge.balance network |> ok |> ignore

                Seq.iter2
                    (fun (core: torch.Tensor) (kept: torch.Tensor) -> Expect.isTrue (identical core kept) "core")
                    network.Cores
                    before)
            testCase "a rank-deficient bond is refused by name" (fun () ->
                use _ = torch.NewDisposeScope()

                let spec =
                    Format.spec [ 4; 3; 4 ] (Format.Tucker2(2, 2))
                    |> function
                        | Ok s -> s
                        | Error e -> failtestf "%A" e

                let network = randomNetwork 3 spec
                let a = network["A"].clone()
                a[torch.TensorIndex.Colon, torch.TensorIndex.Single 1L] <- a[torch.TensorIndex.Colon, torch.TensorIndex.Single 0L]
                let deficient = networkOf spec [ a; network["B"]; network["C"] ]

                match Gauge.balance deficient with
                | Error [ TensorNetError.RankDeficientBond(bond, rank, dimension) ] ->
                    Expect.equal (bond, rank, dimension) ("a", 1, 2) "the error"
                | other -> failtestf "%A" other)
            testCase "the least S is no number where a bond has no gauge, and an error where a core is not finite" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec = Format.spec [ 4; 3; 4 ] (Format.Tucker2(2, 2)) |> Result.defaultWith (failtestf "%A")
                let network = randomNetwork 3 spec
                let least network = Gauge.leastIn Norm.Frobenius network

                let changed change =
                    let copy = Network.copy network
                    change copy["A"]
                    copy

                let halved = Network.copyAs torch.float16 network
                let balanced = Gauge.balance (Network.copyAs torch.float64 halved) |> ok
                Expect.equal (least halved |> ok) (Sensitivity.value balanced) "of 16 bits, in float64"
                let deficient = changed (fun a -> a.copy_ (a.narrow(1L, 0L, 1L).clone().expand_as a) |> ignore)
                Expect.isTrue (System.Double.IsNaN(least deficient |> ok)) "deficient"

                match least (changed (fun a -> a.fill_ (nan.ToScalar()) |> ignore)) with
                | Error [ TensorNetError.NotFinite(what, 8L) ] -> Expect.stringContains what "'A'" "the core"
                | other -> failtestf "%A" other)
            law "any network: T stays and S never rises, or a rank-deficient bond is refused" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec

                match Gauge.balance network with
                | Ok balanced ->
                    same (Contraction.reconstruct balanced) (Contraction.reconstruct network) "T"
                    let s = Sensitivity.value network
                    Expect.isLessThanOrEqual (Sensitivity.value balanced) (s * (1.0 + 1e-12)) "S"
                    let again = Gauge.balance balanced |> ok

                    let cycles =
                        let cores = [| for core in network.Cores -> core.clone () |]

                        let count =
                            Gauge.cycles Gauge.maxCycles (FreeBonds.ofSpec case.Spec) (Sensitivity.plan case.Spec) cores
                            |> ok
                            |> snd

                        for core in cores do
                            core.Dispose()

                        count

                    // Seldom the least S is only approached: then more cycles still gain.
                    if cycles < Gauge.maxCycles then
                        sameNumber (Sensitivity.value again) (Sensitivity.value balanced) "again"
                    else
                        Expect.isLessThanOrEqual (Sensitivity.value again) (Sensitivity.value balanced * (1.0 + 1e-12)) "again"
                | Error [ TensorNetError.RankDeficientBond _ ] -> ()
                | Error errors -> failtestf "%A" errors)
            law "truncation keeps T, never widens a bond, and cuts tensor trains to what balance accepts" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                // The last core's slices along its first axis are made equal: every bond next to it loses rank.
                let cores = network.Cores |> Seq.map _.clone() |> Seq.toArray
                let last = cores[cores.Length - 1]
                let flat = last.mul(Num.tensor 0.0).plus(last.mean ([| 0L |], keepdim = true))
                cores[cores.Length - 1] <- flat
                let deficient = networkOf case.Spec (List.ofArray cores)
                let cut = Gauge.truncate deficient
                same (Contraction.reconstruct cut) (Contraction.reconstruct deficient) "T"

                for KeyValue(axis, dim) in cut.Spec.Dims do
                    Expect.isLessThanOrEqual dim (Spec.dim axis case.Spec) $"{axis}"

                match case.Format with
                | Format.TensorTrain _
                | Format.Tucker _
                | Format.Tucker2 _
                | Format.HierarchicalTucker _ -> Gauge.balance cut |> ok |> ignore
                | _ -> ())
        ]
