/// Single arguments, by the names of their parameters: numbers, names, texts, norms, tensors, networks.
module HostileValues

// Reflection does not say what may be null.
#nowarn "3261"

open System
open TorchSharp
open TensorNets
open HostileSpecs
open HostileTensors
open HostileModules

/// What a callback of the caller throws: it leaves the library as it is.
exception Thrown

let floats =
    [
        0.0
        1e-12
        1e-6
        1e-3
        0.1
        0.1
        0.3
        0.5
        0.9
        0.99
        1.0
        2.0
        10.0
        -1.0
        nan
        infinity
        -infinity
        1e-300
        1e300
    ]

let ints = [ 0; 1; 1; 2; 2; 3; 3; 4; 5; 8; -1; 100 ]

/// Those of which a function makes as many things as it is told.
let counts = [ 0; 1; 2; 2; 3; 3; -1 ]

let integer (d: Draw) (name: string) : obj =
    match name.ToLowerInvariant() with
    | "rank"
    | "first"
    | "last"
    | "rows"
    | "columns" -> rank d
    | "oversampling" -> d.Pick [ 2; 3; 10; 1; 0; -1; Int32.MaxValue ]
    | "poweriterations" -> d.Pick [ 0; 1; 2; -1 ]
    | "maxsweeps" -> d.Pick [ 1; 2; 3; 3; 3; 0; -1; Int32.MinValue ]
    | "starts" -> d.Pick [ 1; 1; 1; 2; 0; -1 ]
    | "depth"
    | "extrapolationdepth" -> d.Pick [ 0; 0; 0; 2; 8; 1; -1; Int32.MaxValue ]
    | "shape"
    | "dims"
    | "factors" when d.Chance 0.1 -> d.Pick [ Int32.MaxValue; Int32.MaxValue - 1; 65536; 46341 ]
    | "draws" -> d.Pick [ 2; 3; 5; 1; 0; -1 ]
    | "modes"
    | "n" -> d.Pick counts
    | _ -> d.Pick ints
    |> box

/// Names of cores and axes: of the spec as often as not.
let name (d: Draw) : string =
    let spec = spec d

    match d.Below 4 with
    | 0
    | 1 -> (d.Pick spec.Cores).Name
    | 2 when not spec.Dims.IsEmpty -> (d.Pick(List.ofSeq spec.Dims.Keys)).Name
    | _ -> d.Pick [ "Q"; ""; "1"; "A'"; "a b"; "\ud800"; "Z9" ]

let axis (d: Draw) : Axis =
    let axes = List.ofSeq (spec d).Dims.Keys

    if axes.IsEmpty || d.Chance 0.15 then
        Axis(d.Pick [ "q"; ""; "a'"; "\ud800"; "zz" ])
    else
        d.Pick axes

let text (d: Draw) (owner: string) (name': string) : string =
    match owner, name' with
    | "Files", "path" -> file d
    | _, "path" -> path d
    | _, "text" ->
        if d.Chance 0.6 then
            specText d
        else
            d.Pick
                [
                    ""
                    "->"
                    "a"
                    "ab, bc"
                    "a -> a | a=0"
                    "a -> a | a=2.5"
                    "a → a | a=2"
                    "(a b), b -> a"
                    "a, b -> c | a=99999999999"
                    "abc -> abc | a=2147483647 b=2147483647 c=2147483647"
                    "ab, bc -> ac | a=2147483647 b=2147483647 c=2147483647"
                    "\ud800 -> \ud800"
                    String(',', 3000)
                ]
    | _, "json" ->
        let good = SpecJson.write (spec d)

        match d.Below 4 with
        | 0 -> good[.. d.Below good.Length]
        | 1 -> d.Pick [ ""; "{}"; "[]"; "null"; "{\"version\":9}"; "\"\ud800\""; String('[', 3000) ]
        | _ -> good
    | _ -> name d

let dtype (d: Draw) : torch.ScalarType =
    if d.Chance 0.7 then
        d.Pick [ torch.float32; torch.float64 ]
    else
        d.Pick
            [
                torch.float16
                torch.bfloat16
                torch.int64
                torch.bool
                torch.complex64
                torch.uint8
                torch.qint8
                LanguagePrimitives.EnumOfValue 99y
            ]

/// A Gram matrix of a mode of the spec, or what is none.
let covariance (d: Draw) (mode: int) : Tensor =
    let dims = Spec.shape (spec d)
    let n = if mode >= 0 && mode < dims.Length then dims[mode] else 3L

    if d.Chance 0.7 then
        use _ = torch.NewDisposeScope()
        let rows = Array.init (int n * 3) (fun _ -> d.Noise())
        let rows = torch.tensor(rows, dtype = torch.float64, device = torch.CPU).reshape(3L, n)
        let sigma = rows.mT.matmul rows
        d.Own(sigma.``to`` (d.Pick [ torch.float64; torch.float32 ], copy = true))
    else
        tensor d [ n; n ]

let norm (d: Draw) : Norm =
    if d.Chance 0.7 then
        Norm.Frobenius
    else
        let mode = d.Pick [ 0; 0; 1; 2; -1; 9 ]
        Norm.Weighted((if d.Chance 0.9 then [ mode ] else d.Pick [ []; [ mode; mode ]; [ 0; 1 ] ]), covariance d mode)

let tensorFor (d: Draw) (owner: string) (name': string) : Tensor | null =
    let coherent () =
        match name' with
        | "target" -> Spec.shape (spec d)
        | "covariance" -> [ 3L; 3L ]
        | "a" -> [ 3L; 4L ]
        | "b" -> if owner.StartsWith("sphere", StringComparison.OrdinalIgnoreCase) then [ 4L ] else [ 2L; 4L ]
        | "q" -> [ 4L ]
        | "weight" -> d.Pick [ [ 4L; 3L; 3L; 2L ]; [ 4L; 3L ]; [ 2L; 2L; 3L ] ]
        | "kernel" -> [ 3L; 6L; 4L ]
        | "bias" -> [ (geometry d).OutChannels |> max 0L |> min 1000L ]
        | "matrix" -> [ 2L; 2L ]
        | "batch"
        | "batches" -> modelInput d
        | _ -> input d

    if d.Chance 0.02 then null
    elif name' = "covariance" && d.Chance 0.8 then covariance d 0
    elif d.Chance 0.85 then tensor d (coherent ())
    else tensor d (anyShape d)

let networkFor (d: Draw) (owner: string) : Network =
    let ofLayer = [ "Layer"; "ofNetwork"; "ofDense"; "conv2dOf" ] |> List.contains owner

    if d.Chance 0.02 then network d (wideSpec d)
    elif ofLayer && d.Chance 0.7 then network d (layer d).Spec
    elif d.Chance 0.95 then network d (spec d)
    else network d (Draw(d.Below 1000) |> spec)

let plan (d: Draw) : Plan =
    Plan.make (d.Pick [ Order.Auto; Order.Exact; Order.Greedy ]) (if d.Chance 0.1 then hugeSpec d else spec d)

let progress (d: Draw) : IProgress<'T> =
    let throws = d.Chance 0.1

    { new IProgress<'T> with
        member _.Report _ =
            if throws then
                raise Thrown
    }

let reader (d: Draw) : SafeTensorReader =
    let stream = new IO.MemoryStream()
    LayerFile.write stream (layer d) |> ignore
    stream.Position <- 0L

    match SafeTensors.ofStream "a file" stream with
    | Ok reader ->
        if d.Chance 0.1 then
            stream.Dispose()

        reader
    | Error errors -> invalidOp $"%A{errors}"

let optimizer (d: Draw) : torch.optim.Optimizer =
    let m: Module = if d.Chance 0.8 then model d else dense d

    d.Own(
        match d.Below 3 with
        | 0 -> torch.optim.SGD(m.parameters (), 0.1, momentum = 0.9) :> torch.optim.Optimizer
        | 1 -> torch.optim.Adam(m.parameters (), 0.1)
        | _ -> torch.optim.LBFGS(m.parameters (), 0.1)
    )

let chosen (d: Draw) : Format option = if d.Chance 0.7 then Some(format d [ 4; 9; 4 ]) else None
