/// What one call is drawn from, and the shapes, formats and networks that a careless or hostile caller has.
module HostileSpecs

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
        "ab, bc, cd, de, ef -> af | a=2 b=2 c=1 d=2 e=2 f=2"
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

    match d.Below 10 with
    | 0
    | 1 -> Format.CP(rank d)
    | 2 -> Format.Tucker(ranks n)
    | 3 -> Format.Tucker2(rank d, rank d)
    | 4 -> Format.TensorTrain(ranks (n - 1))
    | 5 -> Format.TensorChain(ranks n)
    | 6 -> Format.HierarchicalTucker(dimTree d rank [ 0 .. n - 1 ])
    | 7 -> Format.BlockTerm(1 + d.Below 2, ranks n)
    | 8 -> Format.TensorTrainMatrix([ shape[0] ], [ shape[n - 1] ], [])
    | _ -> Format.Dense

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

let private parsed (text: string) : Spec =
    match Spec.parse [] text with
    | Ok spec -> spec
    | Error errors -> invalidOp $"%A{errors}"

/// Networks of which no machine holds a core.
let hugeSpec (d: Draw) : Spec =
    d.Pick
        [
            "ab -> ab | a=2147483647 b=2147483647"
            "ab, bc -> ac | a=1048576 b=1048576 c=1048576"
            "ax, bx, cx -> abc | a=2147483647 b=2147483647 c=2147483647 x=65536"
            "ab, cb -> | a=2147483647 b=65536 c=2147483647"
        ]
    |> parsed

/// Networks of small cores whose tensor no machine holds.
let wideSpec (d: Draw) : Spec =
    let axes = [ for i in 1..60 -> $"a{i}" ]
    let list (separator: string) = String.Join(separator, axes)
    let dims = String.Join(" ", axes |> List.map (fun axis -> axis + "=4"))

    d.Pick
        [
            $"""{list ","} -> {list ""} | {dims}"""
            $"""{axes |> List.map (fun a -> a + "r") |> String.concat ","} -> {list ""} | r=2 {dims}"""
        ]
    |> parsed

let specText (d: Draw) : string = d.Pick texts

/// A network: written by hand, or of a format over the shape.
let spec (d: Draw) : Spec =
    d.Once(
        "spec",
        fun () ->
            let written () = parsed (specText d)

            if d.Chance 0.35 then
                written ()
            else
                match Format.spec (shape d) (formatWith d smallRank (shape d)) with
                | Ok spec -> spec
                | Error _ -> written ()
    )
