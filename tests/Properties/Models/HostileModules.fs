/// Modules, models, layers, geometries, files and states as a careless or hostile caller has them, drawn from a seed.
module HostileModules

open System
open System.Collections.Generic
open System.IO
open System.IO.Compression
open TorchSharp
open TensorNets
open HostileSpecs
open HostileTensors

type Module = torch.nn.Module
type TensorModule = torch.nn.Module<Tensor, Tensor>

/// A layer of numbers that come back as they are, in place of one that is known.
type Opaque() =
    inherit torch.nn.Module<Tensor, Tensor>("Opaque")
    override _.forward x = x.alias ()

/// Dense layers with common and odd geometries, and the shape of an input.
let private kinds: ((unit -> TensorModule) * int64 list) list =
    [
        (fun () -> torch.nn.Linear(4L, 6L)), [ 3L; 4L ]
        (fun () -> torch.nn.Linear(1L, 1L, hasBias = false)), [ 2L; 1L ]
        (fun () -> torch.nn.Conv1d(3L, 4L, 3L, padding_mode = PaddingModes.Circular, padding = 1L)), [ 2L; 3L; 5L ]
        (fun () -> torch.nn.Conv2d(3L, 4L, 3L)), [ 2L; 3L; 5L; 4L ]
        (fun () -> torch.nn.Conv2d(4L, 4L, 3L, padding = 1L, bias = false)), [ 1L; 4L; 4L; 4L ]
        (fun () -> torch.nn.Conv2d(4L, 6L, 2L, groups = 2L, stride = 3L, dilation = 2L)), [ 2L; 4L; 7L; 6L ]
        (fun () -> torch.nn.Conv2d(4L, 4L, 3L, groups = 4L)), [ 2L; 4L; 5L; 5L ]
        (fun () -> torch.nn.Conv2d(2L, 3L, struct (2L, 4L), padding = Padding.Same)), [ 2L; 2L; 5L; 4L ]
        (fun () -> torch.nn.Conv2d(1L, 1L, 1L, padding_mode = PaddingModes.Reflect, padding = 2L)), [ 1L; 1L; 4L; 4L ]
        (fun () -> torch.nn.Conv3d(2L, 3L, 2L, stride = 2L)), [ 1L; 2L; 3L; 4L; 2L ]
        (fun () -> torch.nn.ConvTranspose1d(3L, 4L, 3L, stride = 2L, output_padding = 1L)), [ 2L; 3L; 3L ]
        (fun () -> torch.nn.ConvTranspose2d(4L, 2L, 3L, groups = 2L, bias = false)), [ 1L; 4L; 3L; 3L ]
        (fun () -> torch.nn.Embedding(7L, 4L, padding_idx = Nullable 6L)), [ 2L; 3L ]
    ]

let private others: (unit -> Module) list =
    [
        (fun () -> torch.nn.ReLU())
        (fun () -> torch.nn.BatchNorm2d(3L))
        (fun () -> torch.nn.LSTM(3L, 2L))
        (fun () -> torch.nn.Embedding(3L, 2L, max_norm = Nullable 1.0))
        (fun () -> torch.nn.ConvTranspose3d(2L, 2L, 2L))
        (fun () -> torch.nn.Sequential())
        (fun () -> new Opaque())
    ]

let private scaled (d: Draw) (m: 'M) : 'M :> Module =
    let change (change: Tensor -> unit) =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()

        for parameter in m.parameters () do
            change parameter

    match d.Below 14 with
    | 0 -> change (fun p -> p.zero_ () |> ignore)
    | 1 -> change (fun p -> p.copy_ (torch.tensor 0.1f) |> ignore)
    | 2 ->
        d.Finite <- false
        change (fun p -> p.copy_ (torch.tensor nan) |> ignore)
    | 3 ->
        d.Moderate <- false
        change (fun p -> p.mul_ (torch.tensor (d.Pick [ 1e-30f; 1e30f ])) |> ignore)
    | 4 -> change (fun p -> p.requires_grad <- false)
    | 5 -> m.``to`` torch.float64 |> ignore
    | 6 -> m.``to`` (d.Pick [ torch.bfloat16; torch.float16 ]) |> ignore
    | 7 -> m.eval ()
    | _ -> ()

    m

let private kind (d: Draw) = d.Once("kind", fun () -> d.Pick kinds)

/// The dense layer of the draw.
let dense (d: Draw) : TensorModule = d.Once("dense", fun () -> d.Own(scaled d (fst (kind d) ())))

let geometry (d: Draw) : ConvGeometry =
    let plain =
        use layer = fst (kind d) ()

        match ConvGeometry.ofLayer layer with
        | Ok g -> g
        | Error _ -> ConvGeometry.plain 2 3L 4L

    let all n value = List.replicate n value

    match d.Below 24 with
    | 0 -> { plain with InChannels = d.Pick [ 0L; -3L; 7L ] }
    | 1 -> { plain with OutChannels = d.Pick [ 0L; -3L; 7L ] }
    | 2 -> { plain with Groups = d.Pick [ 0L; -1L; 3L; 2L ] }
    | 3 -> { plain with Kernel = d.Pick [ []; [ 0L ]; [ 2L; 2L ]; [ -1L; 1L ]; all 4 1L ] }
    | 4 -> { plain with Stride = d.Pick [ []; [ 0L ]; [ 0L; 0L ]; [ -1L; 1L ]; all 4 1L ] }
    | 5 -> { plain with Dilation = d.Pick [ []; [ 0L ]; [ 0L; 0L ]; [ -1L; 1L ]; all 4 1L ] }
    | 6 -> { plain with Padding = d.Pick [ []; [ struct (-1L, 0L) ]; all 2 (struct (9L, 9L)) ] }
    | 7 -> { plain with OutputPadding = d.Pick [ []; [ 1L ]; [ 1L; 1L ]; [ -1L; 5L ] ] }
    | 8 ->
        { plain with
            PaddingMode = d.Pick [ PaddingModes.Reflect; PaddingModes.Replicate; enum<PaddingModes> 77 ]
        }
    | 9 -> { plain with Transposed = not plain.Transposed }
    | 10 ->
        { plain with
            InChannels = d.Pick [ 2147483647L; 2147483648L; Int64.MaxValue ]
            OutChannels = d.Pick [ 1L; 2147483647L ]
        }
    | 11 ->
        { plain with
            Kernel = d.Pick [ [ 2147483647L ]; [ 65536L; 65536L ]; [ 2147483647L; 2147483647L; 2147483647L ] ]
        }
    | 12 ->
        { plain with
            Embedding = Some { PaddingIdx = d.Pick [ None; Some 0L; Some -1L; Some Int64.MaxValue ] }
        }
    | _ -> plain

/// A factorized layer like the dense one of the draw.
let layer (d: Draw) : FactorizedLayer =
    d.Once(
        "layer",
        fun () ->
            let lowering =
                d.Pick [ None; Some Lowering.Dense; Some Lowering.Windowed; Some Lowering.Measured; Some Lowering.Staged ]

            let axes = d.Pick [ KernelAxes.Fused; KernelAxes.Separate ]

            let rec make lowering format tries : FactorizedLayer =
                use like = fst (kind d) ()

                match Layers.fresh lowering axes d.Seed 1.0 format like with
                | Ok layer -> layer
                | Error errors when tries > 8 -> invalidOp $"%A{errors}"
                | Error _ ->
                    // Depthwise layers have none.
                    use plain = torch.nn.Conv2d(3L, 4L, 3L)

                    match Layers.fresh None axes d.Seed 1.0 (Format.CP 2) plain with
                    | Ok layer -> layer
                    | Error errors -> invalidOp $"%A{errors}"

            d.Own(scaled d (make lowering (d.Pick [ Format.CP 2; Format.CP 1; Format.Tucker2(2, 2); Format.TensorTrain [ 2; 2 ] ]) 0))
    )

/// A tree of modules with layers at `first`, `inner.0` and `last`.
let model (d: Draw) : TensorModule =
    d.Once(
        "model",
        fun () ->
            let inner: TensorModule = torch.nn.Sequential(torch.nn.Conv2d(4L, 4L, 1L), torch.nn.ReLU())

            let last: TensorModule =
                if d.Chance 0.5 then
                    torch.nn.Conv2d(4L, 3L, 2L)
                else
                    use like = torch.nn.Conv2d(4L, 3L, 2L)

                    match Layers.fresh None KernelAxes.Fused 0UL 1.0 (Format.CP 2) like with
                    | Ok layer -> layer
                    | Error errors -> invalidOp $"%A{errors}"

            let first: TensorModule = torch.nn.Conv2d(3L, 4L, 3L, padding = 1L)

            // A layer that is replaced is in the model no more, and is not disposed with it.
            for part in [ first; inner; last ] do
                for nested in part.modules () do
                    d.Own nested |> ignore

                d.Own part |> ignore

            d.Own(scaled d (torch.nn.Sequential(struct ("first", first), struct ("inner", inner), struct ("last", last))))
    )

/// The input of the dense layer and the factorized one of the draw, or of the model.
let input (d: Draw) : int64 list = if d.Chance 0.8 then snd (kind d) else anyShape d

let modelInput (d: Draw) : int64 list = if d.Chance 0.8 then [ 2L; 3L; 5L; 4L ] else anyShape d

let path (d: Draw) : string =
    d.Pick
        [
            "first"
            "first"
            "inner.0"
            "last"
            "last"
            "inner"
            "inner.1"
            ""
            "nothing"
            "first."
            "."
            "inner.0.weight"
            "\ud800"
        ]

let anyModule (d: Draw) : Module =
    match d.Below 8 with
    | 0 -> d.Own((d.Pick others) ())
    | 1 -> layer d
    | 2 -> model d
    | 3 ->
        let dense = d.Own(fst (kind d) ())
        d.Finite <- false
        dense.Dispose()
        dense
    | _ -> dense d

let state (d: Draw) (m: Module) : Dictionary<string, Tensor> =
    let state = Dictionary<string, Tensor>()

    for pair in m.state_dict () do
        if d.Chance 0.95 then
            state[pair.Key] <- if d.Chance 0.9 then pair.Value else tensor d (List.ofArray pair.Value.shape)

    if d.Chance 0.1 then
        state["extra"] <- tensor d (anyShape d)

    state

let private folder = lazy (Directory.CreateTempSubdirectory "hostile")

/// Removes the files that draws have written.
let clean () =
    if folder.IsValueCreated then
        folder.Value.Delete true

let private bytes (d: Draw) : byte[] =
    let good =
        use stream = new MemoryStream()

        match d.Below 3 with
        | 0 -> LayerFile.write stream (layer d) |> ignore
        | 1 -> (dense d).save stream |> ignore
        | _ -> ()

        stream.ToArray()

    if good.Length > 0 && d.Chance 0.4 then
        good[d.Below good.Length] <- byte (d.Below 256)

    if good.Length > 0 && d.Chance 0.2 then good[.. d.Below good.Length] else good

/// A file: good, damaged, cut, empty, a folder, none.
let file (d: Draw) : string =
    let name = Path.Combine(folder.Value.FullName, "file")

    match d.Below 10 with
    | 0 -> folder.Value.FullName
    | 1 -> name + "/none/at/all"
    | 2 -> ""
    | 3 -> "a\u0000b"
    | _ ->
        File.WriteAllBytes(name, bytes d)
        name

let private compressed (bytes: byte[]) =
    let packed = new MemoryStream()
    (use deflate = new DeflateStream(packed, CompressionMode.Compress, true) in deflate.Write(ReadOnlySpan bytes))
    packed.Position <- 0L
    packed

/// A stream that can be read: of a file, good or damaged, seldom one that cannot seek, or that stands behind its end.
let readable (d: Draw) : Stream =
    let bytes = bytes d

    match d.Below 12 with
    | 0 -> new DeflateStream(compressed bytes, CompressionMode.Decompress)
    | 1 -> new MemoryStream(bytes, Position = bytes.LongLength + 5L)
    | _ ->
        let stream = new MemoryStream()
        stream.Write(ReadOnlySpan bytes)
        stream.Position <- 0L
        stream

/// Any stream: closed, or that can only be read or only be written, among others.
let stream (d: Draw) : Stream =
    match d.Below 12 with
    | 0 ->
        let closed = readable d
        closed.Dispose()
        closed
    | 1 -> new MemoryStream(bytes d, false)
    | 2 -> new DeflateStream(new MemoryStream(), CompressionMode.Compress)
    | _ -> readable d
