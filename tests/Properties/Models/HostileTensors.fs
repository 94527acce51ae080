/// Tensors, networks and modules as a careless or hostile caller has them, drawn from a seed.
module HostileTensors

open System
open System.Collections.Generic
open TorchSharp
open TensorNets

type Tensor = torch.Tensor

/// What is drawn from one seed for one call. What belongs together (a shape, a network over it, a tensor of that shape, a layer, an input
/// of it) is drawn once, so that calls get past the first check as often as not; everything made is owned here.
type Draw(seed: int) =
    let random = Random seed
    let owned = List<IDisposable>()
    let drawn = Dictionary<string, objnull>()

    member _.Chance(p: float) = random.NextDouble() < p
    member _.Below(n: int) = random.Next n
    member _.Pick(items: 'T list) : 'T = items[random.Next items.Length]
    member _.Seed = uint64 (random.Next 1000)
    member _.Noise() = sqrt (-2.0 * log (1.0 - random.NextDouble())) * cos (6.2831853 * random.NextDouble())

    /// False as soon as something that is not finite, is disposed or has no numbers was drawn.
    member val Finite = true with get, set
    /// False as soon as numbers were drawn whose powers leave the range of float32.
    member val Moderate = true with get, set

    member _.Own(item: 'T) : 'T =
        match box item with
        | :? Tensor as tensor -> owned.Add(tensor.DetachFromDisposeScope())
        | :? IDisposable as disposable -> owned.Add disposable
        | _ -> ()

        item

    /// What was drawn for a purpose before, or is now.
    member _.Once(purpose: string, make: unit -> 'T) : 'T =
        match drawn.TryGetValue purpose with
        | true, value -> downcast value
        | _ ->
            let value = make ()
            drawn[purpose] <- box value
            value

    member _.Owned = owned

    member _.Dispose() =
        for item in owned do
            item.Dispose()

let private texts =
    [
        "ab, bc -> ac | a=2 b=3 c=2"
        "ab, bc -> ac | a=4 b=2 c=5"
        "ax, bx, cx -> abc | a=3 b=4 c=2 x=2"
        "abx, bcx, cax -> abc | a=2 b=3 c=2 x=2"
        "a, b -> ab | a=3 b=2"
        "ab, b -> a | a=3 b=2"
        "a, a, a -> a | a=3"
        "ax -> a | a=3 x=2"
        "ab, cd -> abcd | a=2 b=3 c=2 d=1"
        "ab, bc, ca -> | a=2 b=2 c=3"
        "sa, adb, bt -> sdt | s=1 a=1 d=4 b=2 t=3"
        "sab, adbc, ct -> sdt | s=3 a=2 b=1 d=2 c=2 t=3"
        "sxp, dxpq, tqx -> sdt | s=3 d=2 t=3 x=2 p=2 q=2"
        "ab, bc, cd, de, ef, fg, gh, hi, ij, jk, kl, lm -> am | a=2 b=2 c=1 d=2 e=2 f=1 g=2 h=2 i=1 j=2 k=2 l=1 m=2"
        "ab -> ba | a=2 b=3"
        "ab, abc, c, -> abc | a=1 b=1 c=1"
    ]

let shape (d: Draw) : int list =
    d.Once(
        "shape",
        fun () ->
            let order = d.Pick [ 1; 2; 2; 3; 3; 3; 4; 5 ]
            let most = if order <= 3 then 6 else 3
            List.init order (fun _ -> if d.Chance 0.2 then 1 else 1 + d.Below most)
    )

let rank (d: Draw) = d.Pick [ 1; 1; 2; 2; 3; 4; 0; -1; 7; 1000; Int32.MaxValue ]

let private smallRank (d: Draw) = d.Pick [ 1; 1; 2; 2; 3 ]

let rec dimTree (d: Draw) (rank: Draw -> int) (modes: int list) : DimTree =
    match modes with
    | [] -> DimTree.Split []
    | [ mode ] -> DimTree.Mode mode
    | modes -> DimTree.Split(modes |> List.splitInto (2 + d.Below 2) |> List.map (fun part -> rank d, dimTree d rank part))

let rec private modeTree (tree: DimTree) =
    match tree with
    | DimTree.Mode mode -> ModeTree.Mode mode
    | DimTree.Split children -> ModeTree.Split(children |> List.map (fun (_, child) -> modeTree child))

let private formatWith (d: Draw) (rank: Draw -> int) (shape: int list) : Format =
    let n = shape.Length
    let ranks count = List.init (max 0 count) (fun _ -> rank d)

    match d.Below 9 with
    | 0
    | 1 -> Format.CP(rank d)
    | 2 -> Format.Tucker(ranks n)
    | 3 -> Format.Tucker2(rank d, rank d)
    | 4 -> Format.TensorTrain(ranks (n - 1))
    | 5 -> Format.TensorChain(ranks n)
    | 6 -> Format.HierarchicalTucker(dimTree d rank [ 0 .. n - 1 ])
    | 7 -> Format.BlockTerm(1 + d.Below 2, ranks n)
    | _ -> Format.TensorTrainMatrix([ shape[0] ], [ shape[n - 1] ], [])

/// Mostly of ranks that fit the shape, now and then of any.
let format (d: Draw) (shape: int list) : Format =
    if d.Chance 0.15 then formatWith d rank shape
    elif d.Chance 0.05 then formatWith d smallRank (List.replicate (1 + d.Below 5) 2)
    else formatWith d smallRank shape

let family (d: Draw) : FormatFamily =
    let n = if d.Chance 0.9 then (shape d).Length else 1 + d.Below 5

    d.Pick
        [
            FormatFamily.CP
            FormatFamily.Tucker
            FormatFamily.Tucker2
            FormatFamily.TensorTrain
            FormatFamily.TensorChain
            FormatFamily.HierarchicalTucker(modeTree (dimTree d smallRank [ 0 .. n - 1 ]))
        ]

let specText (d: Draw) : string = d.Pick texts

/// A network: written by hand, or of a format over the shape.
let spec (d: Draw) : Spec =
    d.Once(
        "spec",
        fun () ->
            let written () =
                match Spec.parse [] (specText d) with
                | Ok spec -> spec
                | Error errors -> invalidOp $"%A{errors}"

            if d.Chance 0.35 then
                written ()
            else
                match Format.spec (shape d) (formatWith d smallRank (shape d)) with
                | Ok spec -> spec
                | Error _ -> written ()
    )

let private scales =
    [ 1.0; 1.0; 1.0; 1.0; 1e-6; 1e6; 1e-38; 1e38; 1e-104; 1e104; 1e-160; 1e160; 1e-300; 1e300 ]

/// Numbers of every kind: noise, of low rank, constant, zero, scaled from 1e-300 to 1e300, with NaN and infinities among them.
let private numbers (d: Draw) (shape: int64[]) : float[] =
    let size = int (Array.fold (*) 1L shape)
    let noise () = Array.init size (fun _ -> d.Noise())

    /// A product of vectors along the axes.
    let product () =
        let vectors = shape |> Array.map (fun n -> Array.init (int n) (fun _ -> d.Noise()))

        Array.init size (fun i ->
            let mutable left, value = i, 1.0

            for axis in shape.Length - 1 .. -1 .. 0 do
                value <- value * vectors[axis][left % int shape[axis]]
                left <- left / int shape[axis]

            value)

    let with' (value: float) =
        let values = noise ()

        if size > 0 then
            values[d.Below size] <- value
            d.Finite <- false

        values

    let values =
        match d.Below 20 with
        | 0 -> Array.zeroCreate size
        | 1 -> Array.create size 1.0
        | 2 -> Array.create size -0.3
        | 3
        | 4 -> product ()
        | 5 -> Array.map2 (+) (product ()) (product ())
        | 6 -> Array.map2 (fun a b -> a + 1e-5 * b) (product ()) (noise ())
        | 7 -> with' nan
        | 8 -> with' (d.Pick [ infinity; -infinity ])
        | 9 -> Array.init size (fun i -> if i = 0 then 1.0 else 0.0)
        | _ -> noise ()

    let scale = d.Pick scales

    if scale <> 1.0 then
        d.Moderate <- false
        values |> Array.map (fun x -> x * scale)
    else
        values

/// A tensor of a shape: mostly of float32 or float64 as it comes, now and then of another dtype, a view, with gradient, disposed, without
/// memory.
let tensor (d: Draw) (shape: int64 list) : Tensor =
    let shape = List.toArray shape

    let dtype =
        if d.Chance 0.85 then
            d.Pick [ torch.float64; torch.float32 ]
        else
            d.Pick
                [
                    torch.float16
                    torch.bfloat16
                    torch.int64
                    torch.int32
                    torch.bool
                    torch.complex64
                    torch.complex128
                ]

    if dtype <> torch.float64 then
        d.Moderate <- false

    if d.Chance 0.02 then
        d.Finite <- false
        d.Own(torch.empty (shape, dtype = dtype, device = torch.META))
    else
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()

        let double = torch.tensor (numbers d shape, dtype = torch.float64, device = torch.CPU)

        let plain = double.reshape(shape).``to``(dtype)

        if (dtype = torch.float32 || dtype = torch.float16) && d.Finite then
            d.Finite <- plain.isfinite().all().ToBoolean()

        let viewed =
            if d.Chance 0.15 && shape.Length > 1 then
                let turned = [| for i in shape.Length - 1 .. -1 .. 0 -> int64 i |]
                plain.permute(turned).contiguous().permute turned
            else
                plain.clone ()

        let tensor = d.Own viewed

        if d.Chance 0.1 && (dtype = torch.float32 || dtype = torch.float64) then
            tensor.requires_grad <- true

        if d.Chance 0.015 then
            d.Finite <- false
            tensor.Dispose()

        tensor

/// Any shape, with axes of 0 and 1 among others.
let anyShape (d: Draw) : int64 list = List.init (d.Below 6) (fun _ -> d.Pick [ 1L; 2L; 2L; 3L; 4L; 0L ])

/// A network of a spec: noise, scaled, with zero cores, with NaN, of one dtype or another.
let network (d: Draw) (spec: Spec) : Network =
    let dtype =
        d.Pick [ torch.float64; torch.float64; torch.float32; torch.float32; torch.float16; torch.bfloat16 ]

    if dtype <> torch.float64 then
        d.Moderate <- false

    let made = Network.random torch.float64 d.Seed spec

    let network =
        if dtype = torch.float64 then
            made
        else
            use made = made
            Network.copyAs dtype made

    use _ = torch.NewDisposeScope()
    use _ = torch.no_grad ()

    for core in network.Cores do
        match d.Below 16 with
        | 0 -> core.zero_ () |> ignore
        | 1 ->
            core.copy_ (torch.tensor (d.Pick [ nan; infinity ], dtype = torch.float64)) |> ignore
            d.Finite <- false
        | 2 ->
            d.Moderate <- false
            core.mul_ (torch.tensor (d.Pick [ 1e-30; 1e30; 1e-3; 1e3; 1e4 ], dtype = dtype)) |> ignore
        | 3 -> core.copy_ (torch.tensor (1.0, dtype = torch.float64)) |> ignore
        | _ -> ()

        if core.isfinite().all().ToBoolean() |> not then
            d.Finite <- false

    if d.Chance 0.1 then
        for core in network.Cores do
            core.requires_grad <- dtype <> torch.float16 && dtype <> torch.bfloat16

    if d.Chance 0.01 then
        d.Finite <- false
        (network :> IDisposable).Dispose()

    d.Own network
