/// Extrapolated sweeps of least squares.
module SwampLaws

open Expecto
open TorchSharp
open TensorNets
open Generators

/// What Grams, which square the condition, may cost in the relative error.
let private gramRounding = 1e-7

let private sweeps n extrapolation = { SweepOptions.defaults with MaxSweeps = n; Tolerance = 1e-9; Extrapolation = extrapolation }

let private target (case: FormatCase) =
    let clean = Contraction.reconstruct (randomNetwork case.Seed case.Spec)
    let rough = noise (case.Seed + 1) clean.shape
    clean.plus (rough.mul (clean.norm().div(rough.norm ()).mul(Num.tensor 0.3)))

let private fitOf n extrapolation (case: FormatCase) =
    Factorize.runSpec { Factorize.defaults with Sweeps = sweeps n extrapolation; Start = Start.Random } case.Spec (target case)
    |> ok

let private specOver (shape: int list) (format: Format) = ({ Shape = shape; Format = format; Seed = 0 }: FormatCase).Spec

/// r orthonormal columns and a common direction, mixed so that any two columns have the given cosine.
let private collinear (seed: int) (n: int64) (r: int64) (cosine: float) =
    let struct (q, _) = torch.linalg.qr (noise seed [ n; r + 1L ])
    let common, own = q.narrow (1L, 0L, 1L), q.narrow (1L, 1L, r)
    common.mul(Num.tensor (sqrt cosine)).plus(own.mul (Num.tensor (sqrt (1.0 - cosine))))

/// CP 5 of 20 × 20 × 20 whose columns have a cosine of .9 in every mode: a swamp.
let private swamp () =
    let spec = specOver [ 20; 20; 20 ] (Format.CP 5)
    use network = Golden.networkOf spec [ for i in 0..2 -> collinear (10 + i) 20L 5L 0.9 ]
    spec, Contraction.reconstruct network

/// After how many sweeps the trace is at most a value.
let private sweepsTo (error: float) (fit: Fit) = fit.Trace |> Seq.tryFindIndex (fun value -> value <= error)

let all =
    testList
        "extrapolation"
        [
            costlyLaw "the error never rises, and the last one is that of the network" (fun (case: FormatCase) ->
                for depth in [ 2; 8 ] do
                    let fit = fitOf 40 (Extrapolation.Anderson depth) case

                    for before, after in Seq.pairwise fit.Trace do
                        Expect.isLessThanOrEqual after (before * (1.0 + 1e-9) + gramRounding) "error"

                    Expect.isLessThanOrEqual (abs (Seq.last fit.Trace - fit.RelativeError)) 1e-10 "the last"
                    Expect.equal fit.Trace.Count (fit.Sweeps + 1) "an error for each sweep")
            costlyLaw "a seed gives the same bits" (fun (case: FormatCase) ->
                let first, second = fitOf 20 (Extrapolation.Anderson 4) case, fitOf 20 (Extrapolation.Anderson 4) case
                Seq.iter2 (fun (a: torch.Tensor) b -> Expect.isTrue (identical a b) "core") first.Network.Cores second.Network.Cores)
            costlyLaw "the first sweep is a plain one" (fun (case: FormatCase) ->
                let plain, other = fitOf 1 Extrapolation.Off case, fitOf 1 (Extrapolation.Anderson 4) case
                Seq.iter2 (fun (a: torch.Tensor) b -> Expect.isTrue (identical a b) "core") plain.Network.Cores other.Network.Cores)
            testCase "in a swamp it takes a fifth of the plain sweeps at most" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec, k = swamp ()
                let fit n extrapolation = Factorize.runSpec { Factorize.defaults with Sweeps = sweeps n extrapolation } spec k |> ok
                let plain = fit 500 Extrapolation.Off
                let reached = plain.RelativeError
                let after = fit 100 (Extrapolation.Anderson 8) |> sweepsTo reached
                Expect.equal plain.Stop Stop.MaxSweeps "plain sweeps are still on their way"
                Expect.isSome after "reached within a fifth of the sweeps")
            testCase "in a swamp it arrives where plain sweeps do not" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec, k = swamp ()
                let fit extrapolation = Factorize.runSpec { Factorize.defaults with Sweeps = sweeps 300 extrapolation } spec k |> ok
                Expect.isLessThanOrEqual (fit (Extrapolation.Anderson 8)).RelativeError 1e-8 "extrapolated"
                Expect.isGreaterThanOrEqual (fit Extrapolation.Off).RelativeError 1e-3 "plain")
            testCase "with a fixed core it stays within the weighted norm" (fun () ->
                use _ = torch.NewDisposeScope()
                // Two cores carry s, so that the weight is a fixed core.
                let spec = Golden.specOf "sa,sab,tb->st" [ "s", 5; "t", 6; "a", 2; "b", 2 ]
                let k = noise 1 [ 5L; 6L ]
                let root = noise 2 [ 5L; 5L ]
                let norm = Norm.Weighted([ 0 ], root.matmul root.mT)
                let options extrapolation = { sweeps 30 extrapolation with Norm = norm }
                let run extrapolation = Factorize.runSpec { Factorize.defaults with Sweeps = options extrapolation } spec k |> ok
                let plain, other = run Extrapolation.Off, run (Extrapolation.Anderson 4)

                Expect.isLessThanOrEqual
                    (abs (Seq.last other.Trace - other.RelativeError))
                    1e-8
                    "the error of the iteration is that of the fit"

                Expect.isLessThanOrEqual other.RelativeError (plain.RelativeError + 1e-3) "error")
            testCase "a depth below two is named" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 1 [ 4L; 3L; 4L ]
                let options = sweeps 3 (Extrapolation.Anderson 1)
                let expected = [ TensorNetError.Unsupported("The depth of extrapolation", "1", "2 or more") ]
                use start = SvdStart.start 0UL (specOver [ 4; 3; 4 ] (Format.CP 2)) k |> ok

                let results =
                    [
                        Factorize.run { Factorize.defaults with Sweeps = options } (Format.CP 2) k
                        Als.run options k start
                        Correction.epc options (ErrorBound.Relative 0.9) k start
                    ]

                for result in results do
                    match result with
                    | Ok _ -> failtest "accepted"
                    | Error errors -> Expect.equal errors expected "errors")
        ]
