/// The two solvers that stand on their own.
module LinalgLaws

open System.Runtime.CompilerServices
open System.Runtime.InteropServices
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
                let rest = b.minus (b.matmul(torch.linalg.pinv a).matmul a)
                let least, most = rest.norm().number(), b.norm().number()

                for share in [ 0.0; 1e-6; 0.3; 0.9 ] do
                    let delta = least + share * (most - least)
                    let x = ConstrainedQuadratics.leastNorm delta a b |> ok
                    let residual = x.matmul(a).minus(b)
                    // Rounding of the residual is relative to B.
                    Expect.isLessThanOrEqual (abs (residual.norm().number() - delta)) (1e-9 * delta + 1e-13 * most) "residual"

                    // μX = (B − XA)Aᵀ with one μ ≥ 0.
                    if share > 0.0 then
                        let gradient = residual.neg().matmul a.mT
                        let mu = gradient.mul(x).sum().div(x.squared().sum()).number()
                        Expect.isGreaterThanOrEqual mu 0.0 "multiplier"

                        Expect.isLessThanOrEqual
                            (gradient.minus(x.mul (Num.tensor mu)).norm().number())
                            (1e-7 * most * a.norm().number())
                            "stationary"

                let zero = ConstrainedQuadratics.leastNorm (2.0 * most) a b |> ok
                Expect.equal (zero.norm().number()) 0.0 "nothing is needed")
            testCase "numbers of an array lie where torch's own do: libtorch's products round by where their numbers lie" (fun () ->
                for i in 1..100 do
                    use numbers = Fresh.doubles [| int64 i |] (Array.init i float)
                    let bytes = numbers.bytes
                    let address = Unsafe.ByteOffset(&Unsafe.NullRef<byte>(), &MemoryMarshal.GetReference bytes)
                    Expect.equal (address % 64n) 0n $"{i} numbers"
                    Expect.equal (numbers.sum().number()) (float (i * (i - 1) / 2)) "the numbers")
            testCase "bad arguments are all named" (fun () ->
                use _ = torch.NewDisposeScope()

                match ConstrainedQuadratics.leastNorm -1.0 (noise 1 [ 2L; 3L ]) (noise 2 [ 2L; 4L ]) with
                | Error [ TensorNetError.Shape("B", [ 2L; 4L ], _); TensorNetError.ErrorBound("-1", _) ] -> ()
                | other -> failtestf "%A" other

                match ConstrainedQuadratics.leastNorm 1e-6 (noise 1 [ 2L; 9L ]) (noise 2 [ 2L; 9L ]) with
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
                let least = q.min().number()
                let b = if case.Seed % 5 = 0 then b.mul ((q.gt (Num.tensor least)).``to`` torch.float64) else b
                let x = ConstrainedQuadratics.sphereQuadratic q b |> ok
                near 1e-12 (x.norm().number()) 1.0 "norm"
                let gradient = q.mul(x).plus(b)
                let lambda = gradient.mul(x).sum().number()

                Expect.isLessThanOrEqual
                    (gradient.minus(x.mul (Num.tensor lambda)).norm().number())
                    (1e-7 * (1.0 + b.norm().number()))
                    "stationary"

                Expect.isLessThanOrEqual lambda (least + 1e-9) "multiplier")
        ]

let private matrix =
    testList
        "matrix"
        [
            law "the closed form is met exactly, and correction of a two-core network reaches it from anywhere" (fun (case: FormatCase) ->
                let m, n = case.Shape[0] + 1, case.Shape[1] + 2
                let k = noise case.Seed [ int64 m; int64 n ]
                let rank = 1 + case.Seed % (min m n - 1)
                let struct (_, s, _) = torch.linalg.svd (k, fullMatrices = false)
                let sigma = entries s
                let best = sqrt (sigma[rank..] |> Array.sumBy (fun x -> x * x))
                let norm = k.norm().number()
                let share = [ 0.02; 0.2; 0.6 ][case.Seed % 3]
                let delta = best + share * (norm - best)
                let fit = LeastSensitiveMatrix.fit rank (ErrorBound.Absolute delta) k |> ok
                near 1e-10 fit.Error delta "the bound is used up"

                // τ from the error, S from τ, by bisection and the formula.
                let error tau =
                    sigma
                    |> Array.mapi (fun i x -> if i < rank then min x tau else x)
                    |> Array.sumBy (fun x -> x * x)
                    |> sqrt

                let mutable low, high = 0.0, sigma[0]

                for _ in 1..200 do
                    let middle = 0.5 * (low + high)
                    if error middle < delta then low <- middle else high <- middle

                let least =
                    2.0 * sqrt (float (m * n)) * (sigma[.. rank - 1] |> Array.sumBy (fun x -> max 0.0 (x - low)))

                near 1e-9 fit.Sensitivity least "S"

                let start = Network.random torch.float64 (uint64 case.Seed) (LeastSensitiveMatrix.spec m n rank)
                let begun = Als.run { SweepOptions.defaults with MaxSweeps = 500; Tolerance = 1e-14 } k start |> ok

                let options = { SweepOptions.defaults with MaxSweeps = 3000; Tolerance = 1e-13 }

                match Correction.epc options (ErrorBound.Absolute delta) k begun.Network with
                | Ok corrected ->
                    Expect.isLessThanOrEqual corrected.Sensitivity (least * (1.0 + 1e-5)) "correction"
                    Expect.isGreaterThanOrEqual corrected.Sensitivity (least * (1.0 - 1e-8)) "nothing is below the least"
                | Error errors -> failtestf "%A" (errors |> List.map _.Message))
            law
                "errors and S are those of the SVD, steep spectra, deficient ranks and tall and wide matrices alike"
                (fun (case: FormatCase) ->
                    let m, n = 4 * case.Shape[0] + 1, 3 * case.Shape[1] + 2
                    let count = min m n
                    let rank = 1 + case.Seed % (count - 1)
                    let steepness = [ 0.0; 0.2; 1.0; 3.0 ][case.Seed % 4]
                    let isDeficient = case.Seed % 3 = 0

                    let sigma =
                        [|
                            for i in 0 .. count - 1 -> if isDeficient && i > count / 2 then 0.0 else 10.0 ** (-steepness * float i)
                        |]

                    let orthonormal seed rows =
                        let struct (q, _) = torch.linalg.qr (noise seed [ int64 rows; int64 count ])
                        q

                    let values = torch.tensor (sigma, dtype = torch.float64)
                    let k = (orthonormal case.Seed m).mul(values).matmul((orthonormal (case.Seed + 1) n).mT)
                    let norm = sqrt (sigma |> Array.sumBy (fun x -> x * x))
                    let best = sqrt (sigma[rank..] |> Array.sumBy (fun x -> x * x)) / norm

                    for slack in [ 1.0001; 1.02; 1.5 ] do
                        let mutable told = nan

                        let bound found =
                            told <- found
                            ErrorBound.Relative(min 0.9999 (max 1e-11 (slack * found)))

                        let fit, _ = LeastSensitiveMatrix.near bound rank k |> ok
                        let delta = min 0.9999 (max 1e-11 (slack * best))
                        Expect.isLessThan (abs (told - best)) (1e-9 * best + 1e-14) "best error"
                        Expect.isLessThanOrEqual fit.RelativeError (delta * (1.0 + 1e-9) + 2e-15) "bound"

                        let error tau =
                            sqrt (sigma |> Array.mapi (fun i x -> if i < rank then min x tau else x) |> Array.sumBy (fun x -> x * x))

                        let mutable low, high = 0.0, sigma[0]

                        for _ in 1..200 do
                            let middle = 0.5 * (low + high)
                            if error middle < delta * norm then low <- middle else high <- middle

                        let least =
                            2.0 * sqrt (float (m * n)) * (sigma[.. rank - 1] |> Array.sumBy (fun x -> max 0.0 (x - low)))

                        near 1e-7 fit.Sensitivity least "S")
            testCase "ranks and bounds out of range are named" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 1 [ 3L; 4L ]

                match LeastSensitiveMatrix.fit 4 (ErrorBound.Relative 0.5) k with
                | Error [ TensorNetError.Format(FormatError.RankOutOfRange("Matrix", "rank", 4, 3, _)) ] -> ()
                | other -> failtestf "%A" other

                match LeastSensitiveMatrix.fit 1 (ErrorBound.Relative 1e-3) k with
                | Error [ TensorNetError.Unreachable _ ] -> ()
                | other -> failtestf "%A" other)
        ]

let all = testList "solvers" [ least; sphere; matrix ]
