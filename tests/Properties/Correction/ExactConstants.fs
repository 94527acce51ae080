/// Networks whose least sensitivity is known by formula: theory of the W-tensor, Strassen's scheme.
module ExactConstants

open System
open Expecto
open TorchSharp
open TensorNets
open Golden

/// Strassen's scheme for 2 × 2 matrices: the matrix multiplication tensor by seven products.
let strassen () : Network =
    let column (rows: float list list) = torch.tensor(rows |> List.concat |> List.toArray, dtype = torch.float64).reshape(7L, 4L)

    // Products m1 … m7 over a11 a12 a21 a22, then b, then where each goes in c11 c12 c21 c22.
    let a =
        column
            [
                [ 1; 0; 0; 1 ]
                [ 0; 0; 1; 1 ]
                [ 1; 0; 0; 0 ]
                [ 0; 0; 0; 1 ]
                [ 1; 1; 0; 0 ]
                [ -1; 0; 1; 0 ]
                [ 0; 1; 0; -1 ]
            ]

    let b =
        column
            [
                [ 1; 0; 0; 1 ]
                [ 1; 0; 0; 0 ]
                [ 0; 1; 0; -1 ]
                [ -1; 0; 1; 0 ]
                [ 0; 0; 0; 1 ]
                [ 1; 1; 0; 0 ]
                [ 0; 0; 1; 1 ]
            ]

    let c =
        column
            [
                [ 1; 0; 0; 1 ]
                [ 0; 0; 1; -1 ]
                [ 0; 1; 0; 1 ]
                [ 1; 0; 1; 0 ]
                [ -1; 1; 0; 0 ]
                [ 0; 0; 0; 1 ]
                [ 1; 0; 0; 0 ]
            ]

    let spec =
        match Format.spec [ 4; 4; 4 ] (Format.CP 7) with
        | Ok s -> s
        | Error e -> failtestf "%A" e

    networkOf spec [ a.mT.contiguous (); b.mT.contiguous (); c.mT.contiguous () ]

/// a ⊗ a ⊗ b + a ⊗ b ⊗ a + b ⊗ a ⊗ a for orthonormal a and b: of rank 3, and the limit of tensors of rank 2.
let private wTensor () : torch.Tensor =
    torch.tensor([| 0.0; 1.0; 1.0; 0.0; 1.0; 0.0; 0.0; 0.0 |], dtype = torch.float64).reshape(2L, 2L, 2L)

/// S of ((a + εb)^⊗3 − (a − εb)^⊗3) / 2ε, balanced, whose error is δ = ε².
let private family (delta: float) =
    let epsilon = sqrt delta
    12.0 * Math.Pow(2.0 * epsilon, -4.0 / 3.0) * (1.0 + delta) * (1.0 + delta)

let all =
    testList
        "exact constants"
        [
            testCase "Strassen's scheme: 240 as published, 229.43 balanced" (fun () ->
                use _ = torch.NewDisposeScope()
                let strassen = strassen ()
                // It multiplies matrices: T is one where a_ij b_jk meets c_ik.
                let t = Contraction.reconstruct strassen

                for i, j, k, l in
                    List.allPairs [ 0L; 1L ] [ 0L; 1L ]
                    |> List.allPairs [ 0L; 1L ]
                    |> List.allPairs [ 0L; 1L ]
                    |> List.map (fun (i, (j, (k, l))) -> i, j, k, l) do
                    for m, n in List.allPairs [ 0L; 1L ] [ 0L; 1L ] do
                        let expected = if j = k && i = m && l = n then 1.0 else 0.0
                        Expect.equal (t[2L * i + j, 2L * k + l, 2L * m + n].number()) expected "entry"


                near 1e-12 (Sensitivity.value strassen) 240.0 "as published"
                Expect.isLessThan (abs (Sensitivity.value (Gauge.balance strassen |> ok) - 229.43)) 0.005 "balanced")
            testCase "Strassen's scheme at error 0: 176.5 among the exact schemes of rank 7" (fun () ->
                use _ = torch.NewDisposeScope()
                let strassen = strassen ()
                let t = Contraction.reconstruct strassen
                let options = { SweepOptions.defaults with Tolerance = 1e-9 }
                let fit = Correction.epc options (ErrorBound.Absolute 0.0) t strassen |> ok
                Expect.isLessThanOrEqual fit.RelativeError 1e-12 "error"
                Expect.isLessThanOrEqual fit.Sensitivity 176.5 "S")
            for relative in [ 1e-2; 1e-3; 1e-4 ] do
                testCase $"the W-tensor at rank 2 and relative error {relative}: S of the closed form" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let w = wTensor ()
                    let delta = relative * sqrt 3.0
                    // The way to a bound near border rank is long, and MaxSweeps counts all of it.
                    let options = { SweepOptions.defaults with MaxSweeps = 5000; Tolerance = 1e-10 }
                    let spec = Format.spec [ 2; 2; 2 ] (Format.CP 2) |> Result.defaultWith (fun e -> failtestf "%A" e)

                    let found =
                        [
                            for seed in 1UL .. 4UL do
                                let start = SvdStart.noise seed spec w |> ok

                                match Correction.epc options (ErrorBound.Absolute delta) w start with
                                | Ok fit ->
                                    Expect.isLessThanOrEqual fit.Error (delta * (1.0 + 1e-9)) "error"
                                    fit.Sensitivity
                                | Error _ -> ()
                        ]

                    Expect.isNonEmpty found "starts that reach the bound"
                    Expect.isLessThanOrEqual (List.min found) (1.001 * family delta) "S")
        ]
