/// A symmetric matrix brought to tridiagonal form, and the systems of a block in that form.
module TridiagonalLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open DenseKinds

let private eye (n: int) = torch.eye (int64 n, dtype = torch.float64)

/// Symmetric, of so many eigenvalues above the rest; a share of its rows and columns zero.
let private symmetric (seed: int) (n: int) (zeros: int) =
    let x = noise seed [ int64 n; int64 n ]
    let sum = x.plus x.mT

    if zeros > 0 then
        let mask = torch.ones (int64 n, dtype = torch.float64)
        mask[torch.TensorIndex.Slice(0L, int64 zeros)] <- Num.tensor 0.0
        sum.mul(mask).mul(mask.unsqueeze 1L)
    else
        sum

let private definite (seed: int) (n: int) =
    let x = noise seed [ int64 n; int64 (2 * n) ]
    x.matmul(x.mT).div(Num.tensor (float (2 * n)))

let private dense (t: Tridiagonal) =
    let n = t.Diagonal.Length

    let at i j =
        if i = j then t.Diagonal[i]
        elif abs (i - j) = 1 then t.Beside[min i j]
        else 0.0

    torch.tensor (Array2D.init n n at)

let private close what tolerance (a: torch.Tensor) (b: torch.Tensor) =
    let error = a.minus(b).norm().number() / (1e-300 + b.norm().number())
    Expect.isLessThan error tolerance what

let private reduction =
    testCase "QᵀAQ is tridiagonal and Q orthogonal"
    <| fun () ->
        for n, zeros in [ 1, 0; 2, 0; 3, 0; 4, 2; 5, 0; 8, 0; 31, 4; 33, 0; 34, 33; 64, 0; 100, 0; 201, 0 ] do
            use _ = torch.NewDisposeScope()
            let a = symmetric n n zeros
            let t = Tridiagonal.reduce a
            let q = Tridiagonal.back t (eye n)
            close $"orthogonal, {n}" 1e-13 (q.mT.matmul q) (eye n)
            close $"tridiagonal, {n}" 1e-13 (q.mT.matmul(a).matmul q) (dense t)
            close $"there and back, {n}" 1e-13 (Tridiagonal.into t q) (eye n)

let private systems =
    testCase "systems with λ on the diagonal are solved, and their residual told"
    <| fun () ->
        for n, rows in [ 1, 3; 2, 9; 5, 1; 33, 16; 100, 21 ] do
            use _ = torch.NewDisposeScope()
            let t = Tridiagonal.reduce (definite n n)
            let d, y = noise 1 [ int64 n; int64 rows ], noise 2 [ int64 n; int64 rows ]
            let whole = dense t
            Expect.isGreaterThan (Tridiagonal.share t) 0.0 "positive pivots"

            for lambda in [ 1e-3; 0.4; 50.0 ] do
                for anchored in [ false; true ] do
                    let anchor: torch.Tensor | null = if anchored then y else null
                    let u = torch.empty_like d
                    let inner = Tridiagonal.solve t lambda d anchor u
                    let y = if anchored then y else torch.zeros_like y

                    let exact =
                        torch.linalg.solve (whole.plus ((eye n).mul(Num.tensor lambda)), d.minus (y.mul (Num.tensor lambda)))

                    close $"solution, {n} {rows} {lambda} {anchored}" 1e-11 u exact
                    let told = exact.mul(d.plus ((y.plus exact).mul(Num.tensor lambda))).sum().number()
                    Expect.isLessThan (abs (inner - told)) (1e-11 * (1.0 + abs told)) $"residual, {n} {rows} {lambda} {anchored}"

        Expect.equal (Tridiagonal.share (Tridiagonal.reduce ((eye 4).neg()))) 0.0 "no positive pivots"

let private blocks =
    testCase "a block's system in tridiagonal form is that of its eigenvectors"
    <| fun () ->
        for n, rows in [ 20, 30; 64, 9; 130, 70 ] do
            for diagonal in [ true; false ] do
                for anchored in [ false; true ] do
                    use _ = torch.NewDisposeScope()
                    let gram = (definite 1 n).unsqueeze 0L

                    let weight =
                        if diagonal then
                            (noise 2 [ 1L; int64 n ]).square().plus(Num.tensor 0.1)
                        else
                            (definite 3 n).unsqueeze 0L

                    let c = noise 4 [ 1L; int64 rows; int64 n ]
                    let start = if anchored then Some(noise 5 [ 1L; int64 rows; int64 n ]) else None
                    // The squared norm of a target that has such products with the block's tensors: at least that of what they span.
                    let rho2 = 3.0 + c.mul(torch.linalg.solve(gram, c.mT).mT).sum().number()
                    let exact = LocalCorrection.spectral [ gram ] [ weight ] c start rho2
                    let mine = LocalCorrection.tridiagonal gram weight c start rho2 |> Option.get
                    let what = $"{n} {rows} {diagonal} {anchored}"
                    Expect.isLessThan (abs (mine.Scale / exact.Scale - 1.0)) 1e-11 $"scale, {what}"
                    Expect.isFalse mine.IsRough "rough"

                    for lambda in [ 1e-6; 0.01; 1.0; 1e4 ] do
                        let residual = exact.Residual lambda
                        Expect.isLessThan (abs (mine.Residual lambda - residual)) (1e-10 * (rho2 + abs residual)) $"residual, {what}"
                        close $"block, {what}" 1e-10 (mine.At lambda) (exact.At lambda)

        use _ = torch.NewDisposeScope()
        let singular = (noise 1 [ 20L; 5L ]) |> fun x -> (x.matmul x.mT).unsqueeze 0L
        let regular = (definite 3 20).unsqueeze 0L
        let c = noise 4 [ 1L; 9L; 20L ]
        Expect.isNone (LocalCorrection.tridiagonal singular regular c None 1.0) "a singular Gram"
        Expect.isNone (LocalCorrection.tridiagonal regular singular c None 1.0) "a singular weight"

let private leaks =
    testCase "nothing is left behind"
    <| fun () ->
        let gram, weight = (definite 1 100).unsqueeze 0L, (definite 3 100).unsqueeze 0L
        let c = noise 4 [ 1L; 9L; 100L ]

        let once () =
            use _ = torch.NewDisposeScope()
            let system = LocalCorrection.tridiagonal gram weight c None 1.0 |> Option.get
            system.Residual 0.1 |> ignore
            system.At 0.1 |> ignore

        once ()
        let before = NativeTensors.settledCount ()

        for _ in 1..20 do
            once ()

        Expect.equal (NativeTensors.settledCount ()) before "tensors"

        for tensor in [ gram; weight; c ] do
            tensor.Dispose()

let all = testList "tridiagonal" [ reduction; systems; blocks; testSequenced leaks ]
