/// The two solvers that stand on their own.
module LinalgLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden


let private least =
    testList
        "leastNorm"
        [
            law "it meets the bound, with equality where the bound binds, and is stationary" (fun (case: FormatCase) ->
                let m, p, n = case.Shape[0], case.Shape[1], List.last case.Shape + 3
                let a = noise case.Seed [ int64 p; int64 n ]
                let b = noise (case.Seed + 1) [ int64 m; int64 n ]
                let rest = b.sub (b.matmul(torch.linalg.pinv a).matmul a)
                let least, most = rest.norm().ToDouble(), b.norm().ToDouble()

                for share in [ 0.0; 1e-6; 0.3; 0.9 ] do
                    let delta = least + share * (most - least)
                    let x = Linalg.leastNorm delta a b |> ok
                    let residual = x.matmul(a).sub b
                    // Rounding of the residual is relative to B.
                    Expect.isLessThanOrEqual (abs (residual.norm().ToDouble() - delta)) (1e-9 * delta + 1e-13 * most) "residual"

                    // μX = (B − XA)Aᵀ with one μ ≥ 0.
                    if share > 0.0 then
                        let gradient = residual.neg().matmul a.mT
                        let mu = gradient.mul(x).sum().div(x.square().sum()).ToDouble()
                        Expect.isGreaterThanOrEqual mu 0.0 "multiplier"

                        Expect.isLessThanOrEqual
                            (gradient.sub(x.mul (Num.tensor mu)).norm().ToDouble())
                            (1e-7 * most * a.norm().ToDouble())
                            "stationary"

                let zero = Linalg.leastNorm (2.0 * most) a b |> ok
                Expect.equal (zero.norm().ToDouble()) 0.0 "nothing is needed")
            testCase "bad arguments are all named" (fun () ->
                use _ = torch.NewDisposeScope()

                match Linalg.leastNorm -1.0 (noise 1 [ 2L; 3L ]) (noise 2 [ 2L; 4L ]) with
                | Error [ TensorNetError.Shape("B", [ 2L; 4L ], _); TensorNetError.ErrorBound("-1", _) ] -> ()
                | other -> failtestf "%A" other

                match Linalg.leastNorm 1e-6 (noise 1 [ 2L; 9L ]) (noise 2 [ 2L; 9L ]) with
                | Error [ TensorNetError.Unreachable _ ] -> ()
                | other -> failtestf "%A" other)
        ]

let private sphere =
    testList
        "sphereQuadratic"
        [
            law "it is stationary with a multiplier at most the least of q: the global minimum" (fun (case: FormatCase) ->
                let n = int64 case.Shape[0]
                let q = noise case.Seed [ n ]
                let b = (noise (case.Seed + 1) [ n ]).mul(Num.tensor (if case.Seed % 3 = 0 then 1e-3 else 1.0))
                // Ties, and the hard case: no pull where q is least.
                let q = if case.Seed % 2 = 0 then q.mul(Num.tensor 2.0).round() else q
                let least = q.min().ToDouble()
                let b = if case.Seed % 5 = 0 then b.mul ((q.gt (Num.tensor least)).``to`` torch.float64) else b
                let x = Linalg.sphereQuadratic q b |> ok
                near 1e-12 (x.norm().ToDouble()) 1.0 "norm"
                let gradient = q.mul(x).add b
                let lambda = gradient.mul(x).sum().ToDouble()

                Expect.isLessThanOrEqual
                    (gradient.sub(x.mul (Num.tensor lambda)).norm().ToDouble())
                    (1e-7 * (1.0 + b.norm().ToDouble()))
                    "stationary"

                Expect.isLessThanOrEqual lambda (least + 1e-9) "multiplier")
        ]

let all = testList "solvers" [ least; sphere ]
