/// Decompositions: of what has none every entry is NaN, and nobody but they call libtorch's.
module DecomposeLaws

open System.IO
open System.Text.RegularExpressions
open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

let private isNone (tensor: torch.Tensor) = tensor.isnan().all().truth()

/// Matrices without a decomposition: NaN in them, infinite, singular where an inverse is asked for.
let private broken =
    let square = noise 3 [ 4L; 4L ]

    [
        "NaN", square.mul (torch.tensor nan)
        "infinity", square.mul (torch.tensor infinity)
        "a column of NaN", square.mul (torch.tensor ([| 1.0; nan; 1.0; 1.0 |], dtype = torch.float64))
    ]

let private call =
    Regex(
        @"\blinalg\.\w+|\.(qr|svd|svdvals|eig|eigh|eigvals|eigvalsh|symeig|cholesky|cholesky_ex|cholesky_solve|cholesky_inverse|lstsq|lu|lu_factor|lu_solve|matrix_rank|pinv|pinverse|inverse|inv|inv_ex|det|logdet|slogdet|triangular_solve|solve_triangular|geqrf|ormqr|householder_product)\b"
    )

let all =
    testList
        "decompositions of what has none"
        [
            for name, matrix in broken do
                testCase $"{name}: every entry is NaN" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let struct (_, isDefinite) = Decompose.cholesky matrix
                    Expect.isFalse isDefinite "no factor"
                    let struct (values, vectors) = Decompose.eigh matrix
                    Expect.isTrue (isNone values && isNone vectors) "eigenvectors"
                    let struct (u, s, vh) = Decompose.svd false matrix
                    Expect.isTrue (isNone u && isNone s && isNone vh) "singular vectors"
                    let struct (q, r) = Decompose.qr matrix
                    Expect.isFalse (q.isfinite().all().truth() && r.isfinite().all().truth()) "QR"
                    Expect.equal (Decompose.rank matrix) 0 "rank"
                    Expect.isFalse ((Decompose.solve matrix (noise 4 [ 4L; 2L ])).isfinite().all().truth()) "solution")
            testCase "a singular system has no solution, and nothing is thrown" (fun () ->
                use _ = torch.NewDisposeScope()
                let singular = torch.ones ([| 3L; 3L |], dtype = torch.float64)
                let right = noise 1 [ 3L; 2L ]
                Expect.isTrue (isNone (Decompose.solve (torch.zeros_like singular) right)) "solve"
                let triangle = Decompose.solveTriangular true (torch.zeros_like singular) right
                Expect.isFalse (triangle.isfinite().all().truth()) "triangular"
                let struct (_, isDefinite) = Decompose.cholesky singular
                Expect.isFalse isDefinite "cholesky"
                Expect.equal (Decompose.rank singular) 1 "rank")
            testCase "what has a decomposition is that of its factors" (fun () ->
                use _ = torch.NewDisposeScope()
                let a = noise 2 [ 5L; 3L ]
                let struct (q, r) = Decompose.qr a
                close 1e-13 (q.matmul r) a "QR"
                let gram = a.mT.matmul a
                let struct (l, isDefinite) = Decompose.cholesky gram
                Expect.isTrue isDefinite "definite"
                close 1e-13 (l.matmul l.mT) gram "L"
                let b = noise 6 [ 3L; 2L ]
                close 1e-10 (gram.matmul (Decompose.choleskySolve l b)) b "by its factor"
                close 1e-10 (gram.matmul (Decompose.solve gram b)) b "solution"
                close 1e-12 (l.matmul (Decompose.solveTriangular false l b)) b "triangular"
                Expect.equal (Decompose.rank a) 3 "rank")
            testCase "no other file of the library calls a decomposition of libtorch's" (fun () ->
                let sources = Seq.append (DefaultLaws.files ".fs" "src") (DefaultLaws.files ".cs" "src") |> List.ofSeq

                let calls (path: string) =
                    [
                        for number, line in Seq.indexed (File.ReadAllLines path) do
                            let code = Regex.Replace(line, "//.*", "").Replace("Decompose.", "")

                            for found in call.Matches code do
                                $"{Path.GetFileName path}:{number + 1} {found.Value}"
                    ]

                let own, others = sources |> List.partition (fun path -> Path.GetFileName path = "Decompose.fs")
                Expect.hasLength own 1 "the one file"
                Expect.isGreaterThan (calls own.Head).Length 8 "its calls"
                Expect.isEmpty (others |> List.collect calls) "calls elsewhere")
        ]
