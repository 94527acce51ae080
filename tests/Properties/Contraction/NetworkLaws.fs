/// What a network means: contraction and sensitivity against loops.
module NetworkLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

/// Cases are small, entries of order one: rounding stays far below this share of the norm, or of one where T cancels.
let private rounding = 1e-11

let same (actual: torch.Tensor) (expected: torch.Tensor) what =
    Expect.equal (List.ofArray actual.shape) (List.ofArray expected.shape) $"{what}: shape"
    let scale = max 1.0 (expected.norm().number())
    Expect.isLessThanOrEqual (actual.minus(expected).norm().number()) (rounding * scale) what

let sameNumber (actual: float) (expected: float) what =
    Expect.isLessThanOrEqual (abs (actual - expected)) (rounding * max 1.0 (abs expected)) $"{what}: {actual:R} against {expected:R}"

let private jacobian (network: Network) =
    let cores = arrays network
    network.Spec.Cores |> List.map (fun core -> Oracle.jacobianNorm2 network.Spec cores core.Name)

let private contraction =
    testList
        "contraction"
        [
            law "reconstruction equals the loops" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec
                same (Contraction.reconstruct network) (oracle case.Spec network) "T")
            law "every order gives the same tensor" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec
                let cores = case.Spec.Cores |> List.map (fun core -> core.Name, network[core.Name]) |> Map.ofList
                let expected = oracle case.Spec network

                for order in [ Order.Exact; Order.Greedy ] do
                    same (Contraction.run (Plan.make order case.Spec) cores) expected $"{order}")
            law "the norm is that of the tensor" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec
                let norm = (oracle case.Spec network).norm().number()
                let found = (Contraction.norm network).number()
                // The square is what is summed, so the norm keeps half the digits where it cancels.
                Expect.isLessThanOrEqual (abs (found * found - norm * norm)) (rounding * max 1.0 (norm * norm)) $"{found} {norm}")
        ]

let private sensitivity =
    testList
        "sensitivity"
        [
            law "each term is the squared norm of the Jacobian in its core" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec

                List.iter2
                    (fun (term: torch.Tensor) expected -> sameNumber (term.number ()) expected "term")
                    (Sensitivity.ofCores network)
                    (jacobian network)

                sameNumber (Sensitivity.value network) (List.sum (jacobian network)) "S")
            law "eliminating core by core gives the same" (fun (case: AnyNetwork) ->
                let network = randomNetwork case.Seed case.Spec
                let nodes = SensitivityElimination.plan case.Spec
                let found = SensitivityElimination.run case.Spec nodes torch.float64 torch.CPU (Network.lookup network)
                sameNumber (found.number ()) (List.sum (jacobian network)) "S")
            costlyLaw "it is the squared norm of the Jacobian by automatic differentiation" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec

                for core in network.Cores do
                    core.requires_grad_ true |> ignore

                let flat = (Contraction.reconstruct network).reshape -1L

                let total =
                    [
                        for i in 0L .. flat.shape[0] - 1L do
                            for core in network.Cores do
                                if not (isNull core.grad) then
                                    (nonNull core.grad).zero_() |> ignore

                            flat[i].backward(retain_graph = true)

                            for core in network.Cores do
                                (nonNull core.grad).squared().sum().number()
                    ]
                    |> List.sum

                sameNumber (Sensitivity.value network) total "S")
            costlyLaw "it is the expected squared change per unit of noise" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                let mean, error = Sensitivity.estimate 400 1e-5 (uint64 case.Seed) network
                let s = Sensitivity.value network
                // Six standard errors: one case in 5e8 fails by chance.
                Expect.isLessThanOrEqual (abs (mean - s)) (6.0 * error + 1e-4 * s) $"{mean} ± {error} against {s}")
            costlyLaw "its gradient is that of finite differences" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec

                let direction =
                    network.Cores |> Seq.mapi (fun i core -> noise (case.Seed + i + 1) core.shape) |> Seq.toArray

                for core in network.Cores do
                    core.requires_grad_ true |> ignore

                (Sensitivity.total network).backward()

                let slope =
                    Seq.map2
                        (fun (core: torch.Tensor) (d: torch.Tensor) -> (nonNull core.grad).mul(d).sum().number())
                        network.Cores
                        direction
                    |> Seq.sum

                let at (h: float) =
                    let moved =
                        Seq.map2
                            (fun (core: torch.Tensor) (d: torch.Tensor) -> core.detach().plus(d.mul (Num.tensor h)))
                            network.Cores
                            direction

                    Sensitivity.value (networkOf case.Spec (List.ofSeq moved))

                // S is a polynomial of degree 2(N − 1) in h: the central difference of N − 1 points on each side is exact, and
                // what is left is the rounding of its values.
                let points = max 1 (network.Cores.Count - 1)
                let h = 1e-2

                let values =
                    [
                        for i in 1..points ->
                            let step = float i * h
                            at step, at -step
                    ]

                // The weight of the i-th pair: (−1)^(i+1) p!² / (i (p − i)! (p + i)!), for p points on each side.
                let weight i =
                    let ratio = Seq.fold (fun w j -> w * float (points - j) / float (points + j + 1)) 1.0 [ 0 .. i - 1 ]
                    (if i % 2 = 1 then ratio else -ratio) / float i

                let difference =
                    values |> Seq.mapi (fun i (after, before) -> weight (i + 1) * (after - before) / h) |> Seq.sum

                Expect.isLessThanOrEqual
                    (abs (slope - difference))
                    (1e-9 * (abs slope + Sensitivity.value network))
                    $"{slope} {difference}")
        ]

let all = testList "networks" [ contraction; sensitivity ]
