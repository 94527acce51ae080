/// What a fit tells of bonds that are narrower than asked.
module CutLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

let private shape = [ 6; 9; 8 ]

let private specOf format = { Shape = shape; Format = format; Seed = 1 }.Spec

/// The format of the target, and what is asked for.
let private pairs =
    [
        Format.TensorTrain [ 2; 3 ], Format.TensorTrain [ 5; 6 ]
        Format.TensorTrain [ 2; 3 ], Format.TensorTrain [ 2; 3 ]
        Format.Tucker2(2, 2), Format.Tucker2(5, 2)
        Format.Tucker [ 2; 2; 2 ], Format.Tucker [ 4; 2; 5 ]
        Format.CP 2, Format.CP 4
        Format.TensorTrain [ 1; 1 ], Format.TensorChain [ 3; 3; 3 ]
        Format.Tucker2(1, 2), Format.BlockTerm(2, [ 2; 3; 3 ])
    ]

let private sweeps = { SweepOptions.defaults with MaxSweeps = 8 }

let private ways (asked: Format) (norm: Norm) (k: torch.Tensor) : (string * (unit -> Fit list)) list =
    let sweeps = { sweeps with Norm = norm }
    let options = { Factorize.defaults with Sweeps = sweeps }
    let start = (Factorize.run options asked k |> ok).Network

    [
        "stable", (fun () -> [ Factorize.stable options None asked k |> ok ])
        "stable within a bound", (fun () -> [ Factorize.stable options (Some(ErrorBound.Relative 0.1)) asked k |> ok ])
        "correction", (fun () -> [ Correction.epc sweeps (ErrorBound.Relative 0.1) k start |> ok ])
        "front", (fun () -> [ for point in (ParetoFront.trace sweeps [ 0.1; 0.5 ] k start |> ok).Points -> point.Fit ])
        "least error", (fun () -> [ LeastError.fit sweeps (0.5 * (Sensitivity.valueIn norm start |> ok)) k start |> ok ])
    ]

let all =
    testList
        "what a fit says was cut"
        [
            for low, asked in pairs do
                testCase $"{low} by {asked}: every bond that is narrower than asked, and no other" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let spec = specOf asked
                    let plain = Contraction.reconstruct (randomNetwork 3 (specOf low))
                    let sigma = torch.eye (6, dtype = torch.float64)

                    for dtype, norm in
                        [
                            torch.float64, Norm.Frobenius
                            torch.float32, Norm.Frobenius
                            torch.float32, Norm.Weighted([ 0 ], sigma)
                        ] do
                        let all = ways asked norm (plain.``to`` dtype)

                        for way, fits in (if dtype = torch.float64 then all else List.take 2 all) do
                            for fit in fits () do
                                let found = [ for cut in fit.Cuts -> cut.Bond, cut.Asked, cut.Found ]

                                let expected =
                                    [
                                        for axis in Spec.bonds spec |> List.sort do
                                            let is, was = Spec.dim axis fit.Network.Spec, Spec.dim axis spec

                                            if is <> was then
                                                Axis.name axis, was, is
                                    ]

                                Expect.equal found expected $"{way}, {dtype}, {norm}")
            testCase "the ranks of the target are those that are left" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = Contraction.reconstruct (randomNetwork 3 (specOf (Format.TensorTrain [ 2; 3 ])))

                for k in [ k; k.``to`` torch.float32 ] do
                    let fit =
                        Factorize.stable { Factorize.defaults with Sweeps = sweeps } None (Format.TensorTrain [ 5; 6 ]) k
                        |> ok

                    Expect.equal [ for cut in fit.Cuts -> cut.Bond, cut.Asked, cut.Found ] [ "a", 5, 2; "b", 6, 3 ] "cuts"

                let matrix = (noise 1 [ 6L; 2L ]).matmul(noise 2 [ 2L; 5L ])
                let fit = LeastSensitiveMatrix.fit 4 (ErrorBound.Relative 1e-3) matrix |> ok
                Expect.equal [ for cut in fit.Cuts -> cut.Bond, cut.Asked, cut.Found ] [ "a", 4, 2 ] "cuts of a matrix")
        ]
