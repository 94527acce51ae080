/// Laws of the search that moves all cores of any network at once: its slopes, its steps, and the roots that the gauge takes.
module SearchLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

let private landscape =
    testList
        "landscape"
        [
            costlyLaw "S and the residual are those of the network, their slopes their differentials" (fun (case: FormatCase) ->
                let k = targetWith 0.3 case
                let land = Objective.make case.Spec k (0.2 * k.norm().number())
                let point = CoreVector.ofCores (randomNetwork (case.Seed + 2) case.Spec).Cores
                let move = noise (case.Seed + 3) point.shape
                let ground = Objective.at land point

                let networkAt (point: torch.Tensor) = networkOf case.Spec (CoreVector.cores land.Shapes point |> List.ofArray)
                let network = networkAt point
                near 1e-9 ground.S (Sensitivity.value network) "S"
                near 1e-9 ground.Residual (k.minus(Contraction.reconstruct network).squared().sum().number()) "residual"

                let h = 1e-5 * point.norm().number() / move.norm().number()
                let step = move.mul (Num.tensor h)
                let ahead, behind = Objective.at land (point.plus step), Objective.at land (point.minus step)

                let check name (slope: torch.Tensor) after before =
                    let expected = (after - before) / (2.0 * h)
                    let size = slope.norm().number() * move.norm().number()
                    Expect.isLessThanOrEqual (abs (slope.dot(move).number() - expected)) (1e-6 * size) name

                check "slope of S" ground.SlopeS ahead.S behind.S
                check "slope of the residual" ground.SlopeResidual ahead.Residual behind.Residual)
            costlyLaw "a slope alone is the sum of both" (fun (case: FormatCase) ->
                let k = targetWith 0.3 case
                let land = Objective.make case.Spec k (0.2 * k.norm().number())
                let point = CoreVector.ofCores (randomNetwork (case.Seed + 2) case.Spec).Cores
                let ground = Objective.at land point

                for mu in [ 0.0; 0.7; 1e4 ] do
                    let both = ground.SlopeS.plus (ground.SlopeResidual.mul (Num.tensor mu))
                    // The residual's slope is a difference, which may cancel.
                    let size = both.norm().number() + mu * (k.norm().number() + 1.0) * point.norm().number()
                    let difference = (Objective.slope land mu point).minus(both).norm().number()
                    Expect.isLessThanOrEqual difference (1e-11 * size) $"at {mu}")
        ]

/// A symmetric matrix with eigenvalues of both signs where `indefinite`, and a slope.
let private quadratic (seed: int) (indefinite: bool) =
    let n = 12L
    let struct (q, _) = torch.linalg.qr (noise seed [ n; n ])
    let values = (noise (seed + 1) [ n ]).mul(Num.tensor 2.0).exp()
    let values = if indefinite then values.mul (noise (seed + 2) [ n ]) else values
    (q.mul values).matmul q.mT, noise (seed + 3) [ n ]

let private steps =
    testList
        "steps in a ball"
        [
            law "a shorter step is the one that conjugate gradients take in the smaller ball" (fun (seed: int) ->
                let seed = abs (seed % 100000)
                let h, slope = quadratic seed (seed % 2 = 0)
                let weights = (noise (seed + 4) [ 12L ]).exp()
                let minimiseIn keeps radius = TrustRegion.minimise keeps h.matmul (fun v -> v.mul weights) slope (Some radius)
                let minimise = minimiseIn true
                let radius = 3.0 * (noise (seed + 5) [ 1L ]).exp().number()
                let step = minimise radius
                let bare = minimiseIn false radius
                Expect.isTrue (identical bare.Move step.Move) "without its conjugate gradient steps the step is the same"
                Expect.isEmpty bare.CgSteps "steps"

                for share in [ 1.0; 0.4; 0.01 ] do
                    let smaller = share * TrustRegion.shrink * step.Size
                    let found, expected = TrustRegion.shorter smaller step, minimise smaller
                    close 1e-9 found.Move expected.Move "move"
                    near 1e-9 found.Decrease expected.Decrease "decrease"
                    near 1e-9 (found.Move.squared().div(weights).sum().number()) (smaller * smaller) "length")
            law "the decrease is that of the model, and no step leaves the ball" (fun (seed: int) ->
                let seed = abs (seed % 100000)
                let h, slope = quadratic seed (seed % 2 = 0)
                let step = TrustRegion.minimise true h.matmul id slope (Some 2.0)
                let d = step.Move
                let model = slope.dot(d).number() + 0.5 * d.dot(h.matmul d).number()
                near 1e-9 step.Decrease (-model) "decrease"
                near 1e-9 step.Size (d.norm().number()) "size"
                Expect.isLessThanOrEqual step.Size (2.0 * (1.0 + 1e-12)) "ball"
                Expect.isGreaterThan step.Decrease 0.0 "it descends")
        ]

let private roots =
    testList
        "roots of a gauge"
        [
            law "either root solves H Q H = P, and its inverse is one" (fun (seed: int) ->
                let seed = abs (seed % 100000)

                let positive seed =
                    let a = noise seed [ 2L; 5L; 8L ]
                    a.matmul a.mT

                let p, q = positive seed, positive (seed + 1)

                let check (name: string) (root: GeometricMean) =
                    let h = root.M.matmul root.M.mT
                    close 1e-7 (h.matmul(q).matmul h) p $"{name}: H Q H"
                    let eye = torch.eye(5L, dtype = torch.float64).expand_as p
                    close 1e-9 (root.M.mT.matmul root.InverseT) eye $"{name}: inverse"

                    if not (System.Double.IsNaN root.Trace) then
                        near 1e-9 root.Trace ((q.mul h).sum().number()) $"{name}: tr(QH)"
                        near 1e-9 root.Trace ((root.InverseT.matmul(root.InverseT.mT).mul p).sum().number()) $"{name}: tr(PH⁻¹)"

                Pencil.root p q |> Result.defaultWith (failtestf "rank %d") |> check "root"
                Pencil.anyRoot p q |> Option.iter (check "any root"))
            law "the root of a pair that is diagonal is the same, and no other pair has it" (fun (seed: int) ->
                let seed = abs (seed % 100000)
                let entries seed = (noise seed [ 2L; 5L ]).exp()
                let p, q = (entries seed).diag_embed(), (entries (seed + 1)).diag_embed()
                let found = Pencil.diagonalRoot p q |> Option.defaultWith (fun () -> failtest "refused")
                let root = Pencil.root p q |> Result.defaultWith (failtestf "rank %d")
                let x = noise (seed + 2) [ 2L; 3L; 5L ]
                let squared (y: torch.Tensor) = y.matmul y.mT
                close 1e-9 (squared (found.After x)) (squared (root.After x)) "X H Xᵀ"
                close 1e-9 (squared (found.InverseTAfter x)) (squared (root.InverseTAfter x)) "X H⁻¹ Xᵀ"

                if not (System.Double.IsNaN root.Trace) then
                    near 1e-9 found.Trace root.Trace "tr(QH)"


                for which in [ 0; 1 ] do
                    let spoilt = if which = 0 then p.clone () else q.clone ()
                    let share = 1e-8 * sqrt (spoilt[1L, 2L, 2L].number() * spoilt[1L, 4L, 4L].number())
                    spoilt[1L, 4L, 2L] <- Num.tensor share
                    spoilt[1L, 2L, 4L] <- Num.tensor share
                    let pair = if which = 0 then spoilt, q else p, spoilt
                    Expect.isNone (pair ||> Pencil.diagonalRoot) "off the diagonal"

                    for wrong in [ nan; -1.0 ] do
                        spoilt[0L, 0L, 0L] <- Num.tensor wrong
                        Expect.isNone (pair ||> Pencil.diagonalRoot) $"{wrong}")
            testCase "the fast root gives up where a matrix is nearly singular, and only there" (fun () ->
                use _ = torch.NewDisposeScope()
                let eye = torch.eye(4L, dtype = torch.float64).unsqueeze 0L
                let flat = eye.clone ()
                flat[0L, 3L, 3L].mul_(Num.tensor 1e-12) |> ignore
                Expect.isSome (Pencil.anyRoot eye eye) "well conditioned"
                Expect.isNone (Pencil.anyRoot flat eye) "P"
                Expect.isNone (Pencil.anyRoot eye flat) "Q"
                Expect.isNone (Pencil.anyRoot eye (eye.mul (Num.tensor 0.0))) "Q = 0")
        ]

let all = testList "search" [ landscape; steps; roots ]
